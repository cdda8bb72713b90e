//! Minting: ids for new users that fall, by their own hash, into the cell that registers them.

use crate::{BUCKET_COUNT, BucketId, CellId, CellMap, CellState, DecidedBy, UserEpoch, UserKey};

/// Crockford's base 32, lower case: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Draws allowed for each expected one. All miss with probability e^−64.
const PATIENCE: usize = 64;

/// An id nobody has, of a user at home in the cell that minted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MintedId {
    /// 26 letters and digits: 128 random bits in Crockford's base 32, lower case. Opaque: it names no cell.
    pub text: String,
    /// The same as a user key.
    pub key: UserKey,
    /// Its bucket, a mintable one of the cell.
    pub bucket: BucketId,
}

/// Why a cell mints no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The map does not have the cell.
    #[error("cell \"{0}\" is not in the map")]
    UnknownCell(CellId),
    /// The cell takes no new users.
    #[error("cell \"{0}\" is draining and takes no new users")]
    Draining(CellId),
    /// None of the cell's buckets may be minted in (OWN-10): the caller answers `NO_HOME`.
    #[error("cell \"{0}\" has no bucket to mint in")]
    NoHome(CellId),
    /// The random numbers are not random.
    #[error("{draws} random ids all missed the buckets of cell \"{cell}\"")]
    BadRandomness {
        /// The cell.
        cell: CellId,
        /// How many were drawn.
        draws: usize,
    },
}

/// Draws ids from `rng` until one falls into a bucket of `cell` that is not reserved (OWN-10) and that the map knows
/// nothing of. The expected number of draws is 65,536 by the number of such buckets; it is bounded by 64 times that.
///
/// The map is a hint here as everywhere: the caller inserts the user in a fenced transaction, and draws again if the
/// database refuses (a moving bucket, an `away` row).
///
/// # Errors
/// If the cell may not mint, or `rng` is broken.
pub fn mint(map: &CellMap, cell: &CellId, mut rng: impl FnMut() -> u64) -> Result<MintedId, MintError> {
    let index = map.index_of(cell).ok_or_else(|| MintError::UnknownCell(cell.clone()))?;
    if map.cell_at(index).state == CellState::Draining {
        return Err(MintError::Draining(cell.clone()));
    }
    let mintable = map.mintable_count(index);
    if mintable == 0 {
        return Err(MintError::NoHome(cell.clone()));
    }
    let draws = PATIENCE * BUCKET_COUNT.div_ceil(mintable);
    for _ in 0..draws {
        let id = encode((u128::from(rng()) << 64) | u128::from(rng()));
        let home = map.home(&id);
        let known = home.decided_by == DecidedBy::Pin || home.user_epoch != UserEpoch::ZERO;
        if home.index == index && !map.is_reserved(home.bucket) && !known {
            let text: String = id.iter().map(|byte| char::from(*byte)).collect();
            let key = UserKey::from_text(&text).expect("26 bytes are a key");
            return Ok(MintedId { text, key, bucket: home.bucket });
        }
    }
    Err(MintError::BadRandomness { cell: cell.clone(), draws })
}

/// 128 bits as 26 digits of 5 bits, the highest first; the first holds 3 bits.
fn encode(bits: u128) -> [u8; 26] {
    std::array::from_fn(|place| ALPHABET[((bits >> (5 * (25 - place))) & 31) as usize])
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn ids_are_crockford_base_32() {
        assert_eq!(&encode(0), b"00000000000000000000000000");
        assert_eq!(&encode(u128::MAX), b"7zzzzzzzzzzzzzzzzzzzzzzzzz");
        assert_eq!(&encode(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), b"014d2pf2dbsqqg28t5cy4tqkff");
    }
}
