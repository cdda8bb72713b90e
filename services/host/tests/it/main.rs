//! The shop's services in one process, asked through their own ports, on a real database.

mod activities;
mod audit;
mod batches;
mod campaigns;
mod cell;
mod chart;
mod feeds;
mod follows;
mod inputs;
mod moving;
mod orders;
mod ownership;
mod previews;
mod pricing;
mod products;
mod registration;
mod replication;
