#![doc = include_str!("../README.md")]

pub mod abuse;
pub mod call;
pub mod collector;
pub mod ports;
