#![doc = include_str!("../README.md")]

pub mod balance;
pub mod budget;
pub mod decide;
pub mod learn;
pub mod retry;
