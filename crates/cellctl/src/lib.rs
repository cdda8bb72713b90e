#![doc = include_str!("../README.md")]

pub mod cli;
pub mod cluster;
pub mod demo;
pub mod lifeline;
pub mod link;
pub mod operator;
mod probe;
pub mod wanted;
