//! What every row runs on: two cells 30 ms apart as the demo starts them, with members, products and orders, and both kinds
//! of caller, in Beijing.

mod clients;
mod stock;
mod world;

pub use clients::{Pool, Sdk};
pub(super) use stock::{FOLLOWED, LINES, ORDERS, orders};
pub use world::World;

use std::sync::Arc;

/// Members of each cell.
const MEMBERS: usize = 64;
/// Products made for the lab, beside the demo's own.
const PRODUCTS: usize = 40;

/// Where a member is at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// In the caller's region.
    Here,
    /// In the other region, 30 ms away.
    Far,
}

/// Callers with what they ask for. Cheap to clone.
#[derive(Clone)]
pub struct Shop(Arc<Inner>);

struct Inner {
    here: Vec<String>,
    far: Vec<String>,
    skus: Vec<String>,
    routers: Pool,
    far_routers: Pool,
    sdk: Sdk,
}

impl Shop {
    /// Which member it is about in a turn.
    #[must_use]
    pub fn member(&self, home: Home, n: usize) -> String {
        let members = self.members(home);
        members[n % members.len()].clone()
    }

    /// All members of a cell.
    #[must_use]
    pub fn members(&self, home: Home) -> &[String] {
        match home {
            Home::Here => &self.0.here,
            Home::Far => &self.0.far,
        }
    }

    /// Which product it is about in a turn.
    #[must_use]
    pub fn sku(&self, n: usize) -> String {
        self.0.skus[n % self.0.skus.len()].clone()
    }

    /// So many products, other ones in each turn.
    #[must_use]
    pub fn skus(&self, n: usize, how_many: usize) -> Vec<String> {
        (0..how_many).map(|at| self.sku(n + at)).collect()
    }

    /// The beginner's way: tonic over pooled connections to the nearest router.
    #[must_use]
    pub fn routers(&self) -> &Pool {
        &self.0.routers
    }

    /// The same of the other cell's router, for a caller who is there.
    #[must_use]
    pub fn far_routers(&self) -> &Pool {
        &self.0.far_routers
    }

    /// The SDK's typed clients.
    #[must_use]
    pub fn sdk(&self) -> &Sdk {
        &self.0.sdk
    }
}
