//! The shop's services in one process, asked through their own ports, on a real database.

mod activities;
mod audit;
mod batches;
mod cell;
mod chart;
mod follows;
mod inputs;
mod moving;
mod orders;
mod ownership;
mod previews;
mod products;
mod registration;
mod replication;
