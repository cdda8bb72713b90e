//! Somebody's own service in the cells, beside the shop.

use anyhow::{Context as _, bail, ensure};
use mesh_policy::PolicyTable;
use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, str::FromStr};

/// A proto, and where it is served in each cell; as text `notes.binpb,bj-1=127.0.0.1:9000,sh-1=127.0.0.1:9001`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// File with its descriptor set, imports included.
    pub descriptor_set: PathBuf,
    /// Where it is served, by the cell's name. Routers and clients both reach it there.
    pub instances: BTreeMap<String, SocketAddr>,
}

impl FromStr for Guest {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (file, places) =
            text.split_once(',').context("a service is FILE,CELL=IP:PORT with one CELL=IP:PORT for each cell")?;
        ensure!(!file.is_empty(), "the descriptor set's file is missing before the first comma");
        let mut instances = BTreeMap::new();
        for place in places.split(',') {
            let (cell, address) = place.split_once('=').with_context(|| format!("'{place}' is not CELL=IP:PORT"))?;
            let address = address.parse().with_context(|| format!("'{address}' of cell '{cell}' is not IP:PORT"))?;
            if instances.insert(cell.to_owned(), address).is_some() {
                bail!("cell '{cell}' is given twice");
            }
        }
        Ok(Self { descriptor_set: file.into(), instances })
    }
}

impl Guest {
    /// Full names of its services.
    ///
    /// # Errors
    /// If its file cannot be read, its policies are wrong, it has no service, or a cell is not one of `cells` or missing.
    pub(super) fn services(&self, cells: &[&str]) -> anyhow::Result<Vec<String>> {
        let file = self.descriptor_set.display();
        if let Some(unknown) = self.instances.keys().find(|cell| !cells.contains(&cell.as_str())) {
            bail!("'{unknown}' of {file} is no cell, there are {}", cells.join(", "));
        }
        if let Some(missing) = cells.iter().find(|cell| !self.instances.contains_key(**cell)) {
            bail!("{file} is not served in cell '{missing}'");
        }
        let set = fs::read(&self.descriptor_set).with_context(|| format!("reading the descriptor set {file}"))?;
        let services = services(&[&set]).with_context(|| format!("in the descriptor set {file}"))?;
        ensure!(!services.is_empty(), "there is no service in the descriptor set {file}");
        Ok(services)
    }
}

/// Full names of the services of descriptor sets.
pub(super) fn services(sets: &[&[u8]]) -> anyhow::Result<Vec<String>> {
    Ok(PolicyTable::from_descriptor_sets(sets.iter().copied())?.services().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_text_says_where_it_is_served() {
        let guest: Guest = "notes.binpb,bj-1=127.0.0.1:9000,sh-1=[::1]:9001".parse().expect("a service");
        assert_eq!(guest.descriptor_set, PathBuf::from("notes.binpb"));
        assert_eq!(guest.instances["sh-1"].port(), 9001);
        for (wrong, why) in [
            ("notes.binpb", "FILE,CELL=IP:PORT"),
            (",bj-1=127.0.0.1:1", "file is missing"),
            ("a,bj-1", "'bj-1' is not CELL=IP:PORT"),
            ("a,bj-1=here:1", "'here:1' of cell 'bj-1'"),
            ("a,bj-1=127.0.0.1:1,bj-1=127.0.0.1:2", "'bj-1' is given twice"),
        ] {
            let error = wrong.parse::<Guest>().expect_err(wrong);
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
    }

    #[test]
    fn what_is_wrong_with_it_is_said_before_anything_starts() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("set.binpb");
        let guest = |text: &str| format!("{}{text}", file.display()).parse::<Guest>().expect("a service");
        let both = ",bj-1=127.0.0.1:1,sh-1=127.0.0.1:2";
        let error = |text: &str| format!("{:#}", guest(text).services(&["bj-1", "sh-1"]).expect_err("it is wrong"));
        assert!(error(both).contains("reading the descriptor set"), "{}", error(both));
        fs::write(&file, b"no set").expect("written");
        assert!(error(both).contains("in the descriptor set"), "{}", error(both));
        assert!(error(",bj-1=127.0.0.1:1").contains("is not served in cell 'sh-1'"));
        assert!(error(",bj-2=127.0.0.1:1").contains("'bj-2' of"));
        fs::write(&file, shop_proto::FILE_DESCRIPTOR_SET).expect("written");
        let services = guest(both).services(&["bj-1", "sh-1"]).expect("the shop");
        assert!(services.iter().any(|name| name == "shop.member.v1.MemberService"), "{services:?}");
    }
}
