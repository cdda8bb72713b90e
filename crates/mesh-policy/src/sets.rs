//! Descriptor sets as given: their raw bytes, where custom options live, and their sum.

use crate::wire::{Reader, WireError, WireType, put_bytes};
use crate::{Fault, PolicyError, PolicyErrors};
use hashbrown::HashMap;
use prost_reflect::DescriptorPool;

/// Numbers of fields in descriptor.proto.
const SET_FILE: u32 = 1;
const FILE_NAME: u32 = 1;
const FILE_SOURCE_INFO: u32 = 9;
const FILE_SYNTAX: u32 = 12;

/// One descriptor set.
pub(crate) struct Set<'a> {
    pub(crate) pool: DescriptorPool,
    pub(crate) files: Vec<File<'a>>,
}

/// One file of a set, encoded.
#[derive(Clone, Copy)]
pub(crate) struct File<'a> {
    pub(crate) name: &'a str,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Set<'a> {
    /// Reads the `ordinal`th set, counted from 1.
    pub(crate) fn read(ordinal: usize, bytes: &'a [u8]) -> Result<Self, PolicyErrors> {
        let fail = |why: String| PolicyError::of_file(&format!("descriptor set {ordinal}"), Fault::Set(why));
        let files = files(bytes).map_err(|error| PolicyErrors(vec![fail(error.to_string())]))?;
        // prost-reflect would panic.
        let foreign: Vec<_> = files.iter().filter_map(File::foreign_syntax).collect();
        if !foreign.is_empty() {
            return Err(PolicyErrors(foreign));
        }
        let pool = DescriptorPool::decode(bytes).map_err(|error| PolicyErrors(vec![fail(error.to_string())]))?;
        Ok(Self { pool, files })
    }

    /// Options of the descriptor at `path` (pairs of field number and index) in a file, encoded: prost-reflect's own
    /// reader of options panics when an extension's bytes are malformed.
    pub(crate) fn options(&self, file: &str, path: &[i32], options: u32) -> Result<Vec<u8>, WireError> {
        let mut descriptor = self.files.iter().find(|f| f.name == file).map_or(&[][..], |f| f.bytes);
        for step in path.chunks_exact(2) {
            let nth = fields(descriptor, step[0] as u32).nth(step[1] as usize);
            descriptor = nth.transpose()?.unwrap_or_default();
        }
        fields(descriptor, options).try_fold(Vec::new(), |mut all, part| {
            all.extend_from_slice(part?);
            Ok(all)
        })
    }
}

impl File<'_> {
    fn foreign_syntax(&self) -> Option<PolicyError> {
        let syntax = fields(self.bytes, FILE_SYNTAX).last()?.unwrap_or_default();
        let known = matches!(syntax, b"proto2" | b"proto3");
        let fault = || Fault::Syntax(String::from_utf8_lossy(syntax).chars().take(80).collect());
        (!known).then(|| PolicyError::of_file(self.name, fault()))
    }
}

fn files(set: &[u8]) -> Result<Vec<File<'_>>, WireError> {
    fields(set, SET_FILE)
        .map(|file| {
            let bytes = file?;
            let name = fields(bytes, FILE_NAME).last().transpose()?.unwrap_or_default();
            Ok(File { name: std::str::from_utf8(name).unwrap_or_default(), bytes })
        })
        .collect()
}

/// Values of a length-delimited field, in order.
pub(crate) fn fields(message: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], WireError>> {
    let mut reader = Reader::new(message);
    let mut next = move || loop {
        match reader.tag()? {
            None => return Ok(None),
            Some(tag) if tag.number == number && tag.wire == WireType::Len => return reader.bytes().map(Some),
            Some(tag) => reader.skip(tag)?,
        }
    };
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let item = next().transpose();
        failed = matches!(item, Some(Err(_)));
        item
    })
}

/// All files of all sets, each once, as one encoded descriptor set.
pub(crate) fn merge(sets: &[Set<'_>], errors: &mut Vec<PolicyError>) -> Vec<u8> {
    let mut order: Vec<&str> = Vec::new();
    let mut by_name: HashMap<&str, &[u8]> = HashMap::new();
    for file in sets.iter().flat_map(|set| &set.files) {
        match by_name.get_mut(file.name) {
            None => {
                order.push(file.name);
                by_name.insert(file.name, file.bytes);
            }
            // Compilers ship their own versions of these: the longest knows most.
            Some(first) if is_common(file.name) => {
                if without_source_info(file.bytes).len() > without_source_info(first).len() {
                    *first = file.bytes;
                }
            }
            Some(first) if without_source_info(first) == without_source_info(file.bytes) => {}
            Some(_) => errors.push(PolicyError::of_file(file.name, Fault::FileConflict)),
        }
    }
    let mut merged = Vec::new();
    for name in order {
        put_bytes(SET_FILE, by_name[name], &mut merged);
    }
    merged
}

fn is_common(file: &str) -> bool {
    file.starts_with("google/") || file == "cellmesh/policy/v1/policy.proto"
}

fn without_source_info(file: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(file.len());
    let mut reader = Reader::new(file);
    loop {
        let start = reader;
        // The file was decoded before: it has no faults.
        let Ok(Some(tag)) = reader.tag() else { return kept };
        if reader.skip(tag).is_err() {
            return kept;
        }
        if tag.number != FILE_SOURCE_INFO {
            kept.extend_from_slice(reader.since(&start));
        }
    }
}
