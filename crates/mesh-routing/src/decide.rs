//! Where a call goes: a pure function of policy, map, redirects learnt, this cell and the hops made so far.
//!
//! Routing is a hint. Whatever is decided here, the database of the cell that is asked says who is home (`ownership.md`);
//! so a request that a peer sent here is given to the local service even where this router's map names another cell: the
//! map may be older than the peer's.

use crate::learn::{Redirect, overrules};
use cell_map::{Cell, CellIndex, CellMap, DecidedBy, OwnerEpochs};
use mesh_policy::Scope;
use std::time::Duration;

/// Cross-cell hops that a call may make.
pub const MAX_HOPS: u32 = 1;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Scope of the method.
    pub scope: Scope,
    /// The user's key.
    pub key: Option<&'a [u8]>,
    /// Cross-cell hops made so far.
    pub hops: u32,
    /// What was learnt of the key.
    pub redirect: Option<&'a Redirect>,
}

/// What is known of the surroundings.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The map in force.
    pub map: &'a CellMap,
    /// Its global cell.
    pub global: CellIndex,
    /// This cell, if the map has it.
    pub here: Option<CellIndex>,
    /// Whether a cell (this one too) can be asked just now.
    pub reachable: &'a dyn Fn(CellIndex) -> bool,
}

/// Where the call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// To an instance of this cell.
    Local {
        /// The epochs believed of the owner.
        asked: OwnerEpochs,
    },
    /// To a router of another cell.
    Cell {
        /// Which.
        cell: CellIndex,
        /// The epochs believed of the owner.
        asked: OwnerEpochs,
    },
    /// Nowhere.
    Refuse(Refusal),
}

/// Why a call goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A USER method without a key.
    NoKey,
    /// It would make a second hop between cells.
    TooManyHops,
    /// The map does not have the cell that owns the key.
    UnknownOwner,
}

/// Who is believed to own a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The owner; none if the map does not have the cell that a redirect named.
    pub cell: Option<CellIndex>,
    /// What orders the claim.
    pub epochs: OwnerEpochs,
    /// Who says so.
    pub source: Source,
}

/// Who says who owns a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The map.
    Map(DecidedBy),
    /// A redirect that the map does not contain yet.
    Learnt,
}

/// The owner by the newest claim known: a redirect's or the map's.
#[must_use]
pub fn claim(map: &CellMap, key: &[u8], redirect: Option<&Redirect>) -> Claim {
    if let Some(redirect) = redirect.filter(|redirect| overrules(redirect, map, key)) {
        return Claim { cell: map.index_of(&redirect.cell), epochs: redirect.epochs, source: Source::Learnt };
    }
    let home = map.home(key);
    let epochs = OwnerEpochs { user: home.user_epoch, ..OwnerEpochs::ZERO };
    Claim { cell: Some(home.index), epochs, source: Source::Map(home.decided_by) }
}

/// Decides where a call goes.
#[must_use]
pub fn decide(question: Question<'_>, around: Surroundings<'_>) -> Decision {
    let Question { scope, key, hops, redirect } = question;
    if hops > MAX_HOPS {
        return Decision::Refuse(Refusal::TooManyHops);
    }
    let local = Decision::Local { asked: OwnerEpochs::ZERO };
    match scope {
        Scope::User => {
            let Some(key) = key else { return Decision::Refuse(Refusal::NoKey) };
            let Claim { cell, epochs: asked, .. } = claim(around.map, key, redirect);
            match cell {
                _ if hops == MAX_HOPS => Decision::Local { asked },
                Some(cell) if Some(cell) == around.here => Decision::Local { asked },
                Some(cell) => Decision::Cell { cell, asked },
                None => Decision::Refuse(Refusal::UnknownOwner),
            }
        }
        Scope::Global => match around.global {
            global if Some(global) == around.here => local,
            _ if hops == MAX_HOPS => Decision::Refuse(Refusal::TooManyHops),
            cell => Decision::Cell { cell, asked: OwnerEpochs::ZERO },
        },
        Scope::Replicated | Scope::Local if hops == MAX_HOPS => local,
        Scope::Replicated | Scope::Local => match elsewhere(around) {
            Some(cell) => Decision::Cell { cell, asked: OwnerEpochs::ZERO },
            None => local,
        },
    }
}

/// The cell that takes this one's LOCAL and REPLICATED calls while it drains or has no instance: the nearest that can be
/// asked.
fn elsewhere(around: Surroundings<'_>) -> Option<CellIndex> {
    let Surroundings { map, here: Some(here), reachable, .. } = around else { return None };
    let cell = map.cell_at(here);
    if cell.is_active() && reachable(here) {
        return None;
    }
    let others = map.cells().iter().filter(|other| other.is_active() && other.id != cell.id);
    let able =
        others.filter_map(|other| Some((other, map.index_of(&other.id)?))).filter(|(_, index)| reachable(*index));
    let far = |other: &Cell| map.distance(&cell.region, &other.region).unwrap_or(Duration::MAX);
    able.min_by_key(|(other, _)| far(other)).map(|(_, index)| index)
}

#[cfg(test)]
mod tests;
