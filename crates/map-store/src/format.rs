//! The file format: a header, then `cellmesh.map.v1.CellMap`.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `CELLMAP\n` |
//! | 4 | format, little-endian: 1 |
//! | 8 | length of the protobuf, little-endian |
//! | 32 | BLAKE3 of the protobuf |
//! | … | the protobuf |

use crate::FormatError;
use cell_map::CellMap;
use mesh_proto::map_v1;
use prost::Message;

/// Most bytes of a stored map, header included: about a million pins.
pub const MAX_BYTES: u64 = 64 << 20;

const MAGIC: [u8; 8] = *b"CELLMAP\n";
const VERSION: u32 = 1;
const HEADER: usize = 52;

/// A map as it is stored.
///
/// # Errors
/// If it is larger than [`MAX_BYTES`].
pub fn encode(map: &CellMap) -> Result<Vec<u8>, FormatError> {
    let message = map_v1::CellMap::from(map);
    let bytes = (HEADER + message.encoded_len()) as u64;
    if bytes > MAX_BYTES {
        return Err(FormatError::TooLarge { bytes, max: MAX_BYTES });
    }
    let body = message.encode_to_vec();
    let mut out = Vec::with_capacity(HEADER + body.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    out.extend_from_slice(blake3::hash(&body).as_bytes());
    out.extend_from_slice(&body);
    Ok(out)
}

/// A stored map, checked whole: header, length, checksum, protobuf and every rule of a cell map.
///
/// # Errors
/// The first thing that is wrong.
pub fn decode(bytes: &[u8]) -> Result<CellMap, FormatError> {
    let length = bytes.len() as u64;
    if length > MAX_BYTES {
        return Err(FormatError::TooLarge { bytes: length, max: MAX_BYTES });
    }
    if bytes.is_empty() {
        return Err(FormatError::Empty);
    }
    let rest = bytes.strip_prefix(&MAGIC).ok_or(FormatError::Magic)?;
    let cut_off = FormatError::Length { bytes: length, want: HEADER as u64 };
    let Some((version, rest)) = rest.split_first_chunk() else { return Err(cut_off) };
    let found = u32::from_le_bytes(*version);
    if found != VERSION {
        return Err(FormatError::Version { found, known: VERSION });
    }
    let Some((body_length, rest)) = rest.split_first_chunk() else { return Err(cut_off) };
    let Some((checksum, body)) = rest.split_first_chunk::<32>() else { return Err(cut_off) };
    let want = u64::from_le_bytes(*body_length).saturating_add(HEADER as u64);
    if want != length {
        return Err(FormatError::Length { bytes: length, want });
    }
    if blake3::hash(body) != *checksum {
        return Err(FormatError::Checksum);
    }
    Ok(CellMap::try_from(map_v1::CellMap::decode(body)?)?)
}
