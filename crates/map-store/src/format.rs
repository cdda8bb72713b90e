//! The file format: a header, then a protobuf message, in the map's case `cellmesh.map.v1.CellMap`.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | what it is: `CELLMAP\n` |
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

const MAGIC: Kind = *b"CELLMAP\n";
/// Wanted cells that were applied.
pub(crate) const WANTED: Kind = *b"CELLSET\n";
const VERSION: u32 = 1;
const HEADER: usize = 52;

/// What a file's first bytes say that it is.
pub type Kind = [u8; 8];

/// A map as it is stored.
///
/// # Errors
/// If it is larger than [`MAX_BYTES`].
pub fn encode(map: &CellMap) -> Result<Vec<u8>, FormatError> {
    seal(MAGIC, &map_v1::CellMap::from(map))
}

/// A stored map, checked whole: header, length, checksum, protobuf and every rule of a cell map.
///
/// # Errors
/// The first thing that is wrong.
pub fn decode(bytes: &[u8]) -> Result<CellMap, FormatError> {
    Ok(CellMap::try_from(open::<map_v1::CellMap>(MAGIC, bytes)?)?)
}

/// A message as a file of this kind.
///
/// # Errors
/// If it is larger than [`MAX_BYTES`].
pub fn seal(kind: Kind, message: &impl Message) -> Result<Vec<u8>, FormatError> {
    let bytes = (HEADER + message.encoded_len()) as u64;
    if bytes > MAX_BYTES {
        return Err(FormatError::TooLarge { bytes, max: MAX_BYTES });
    }
    let body = message.encode_to_vec();
    let mut out = Vec::with_capacity(HEADER + body.len());
    out.extend_from_slice(&kind);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    out.extend_from_slice(blake3::hash(&body).as_bytes());
    out.extend_from_slice(&body);
    Ok(out)
}

/// The message in a file of this kind: header, length, checksum and protobuf are checked.
///
/// # Errors
/// The first thing that is wrong.
pub fn open<M: Message + Default>(kind: Kind, bytes: &[u8]) -> Result<M, FormatError> {
    let length = bytes.len() as u64;
    if length > MAX_BYTES {
        return Err(FormatError::TooLarge { bytes: length, max: MAX_BYTES });
    }
    if bytes.is_empty() {
        return Err(FormatError::Empty);
    }
    let rest = bytes.strip_prefix(&kind).ok_or(FormatError::Magic)?;
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
    Ok(M::decode(body)?)
}
