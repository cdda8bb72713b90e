//! Whole processes, seen from outside: what issue 1 says must be seen working, as a newcomer and an attacker would try it.

mod abuse;
mod bad_requests;
mod doors;
mod grpcurl;
mod histories;
mod kill;
mod map_changes;
mod mesh;
mod planted;
mod private_proto;
mod rows;
mod sdk;
mod stale_map;
mod stranger;
mod traces;
