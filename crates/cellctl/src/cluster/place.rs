//! Names, regions and ports of the cells.

use super::ClusterConfig;
use anyhow::{Context as _, bail};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;

/// How many cells a cluster may have.
pub const CELLS: RangeInclusive<usize> = 1..=50;
/// Ports of one cell.
const PER_CELL: u16 = 10;
/// Free ports are looked for here: below the range that Linux gives to outgoing connections.
const FREE: RangeInclusive<u16> = 12_000..=31_000;
/// The regions, and what their cells' names begin with.
const REGIONS: [(&str, &str); 2] = [("beijing", "bj"), ("shanghai", "sh")];

/// Name and addresses of one cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name, like `bj-1`.
    pub id: String,
    /// Region, like `beijing`.
    pub region: String,
    /// The router's front door: the first of the cell's ports.
    pub front: SocketAddr,
    /// The router's admin listener: the second.
    pub admin: SocketAddr,
    /// The router's peer listener: the third.
    pub peer: SocketAddr,
    /// The front listener of `cell-services`: the fourth.
    pub services_front: SocketAddr,
    /// The peer listener of `cell-services`: the fifth.
    pub services_peer: SocketAddr,
    /// The admin listener of `cell-services`: the sixth.
    pub services_admin: SocketAddr,
    /// Where the link listens for this cell's router: the seventh. `None` if no cell is in another region.
    pub link: Option<SocketAddr>,
    /// Where the link listens for clients of this cell's services: the eighth. `None` if no cell is in another region.
    pub services_link: Option<SocketAddr>,
}

impl Place {
    fn new(index: usize, cells: usize, first_port: u16) -> Self {
        let (region, prefix) = REGIONS[index % REGIONS.len()];
        let at = |offset| SocketAddr::from((Ipv4Addr::LOCALHOST, first_port + offset));
        Self {
            id: format!("{prefix}-{}", index / REGIONS.len() + 1),
            region: region.to_owned(),
            front: at(0),
            admin: at(1),
            peer: at(2),
            services_front: at(3),
            services_peer: at(4),
            services_admin: at(5),
            link: (cells > 1).then(|| at(6)),
            services_link: (cells > 1).then(|| at(7)),
        }
    }

    /// The addresses that must be free, and what each is for.
    fn listeners(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        [
            ("front door", self.front),
            ("admin port", self.admin),
            ("peer port", self.peer),
            ("services' front port", self.services_front),
            ("services' peer port", self.services_peer),
            ("services' admin port", self.services_admin),
        ]
        .into_iter()
        .chain(self.link.map(|link| ("end of the link", link)))
        .chain(self.services_link.map(|link| ("end of the link to the services", link)))
    }
}

/// The cells' places, with ports that are free now; chosen ones are claimed until the listener is dropped.
pub(super) fn choose(config: &ClusterConfig) -> anyhow::Result<(Vec<Place>, Option<TcpListener>)> {
    if !CELLS.contains(&config.cells) {
        bail!("{} cells: allowed are {} to {}", config.cells, CELLS.start(), CELLS.end());
    }
    match config.port_base {
        Some(base) => Ok((at(base, config.cells)?, None)),
        None => anywhere(config.cells),
    }
}

fn at(base: u16, cells: usize) -> anyhow::Result<Vec<Place>> {
    let needed = ports(cells);
    if base == 0 || base.checked_add(needed - 1).is_none() {
        bail!("--port-base {base}: {cells} cells need the {needed} ports from there, and ports go from 1 to 65535");
    }
    let places = lay_out(base, cells);
    for place in &places {
        for (what, address) in place.listeners() {
            TcpListener::bind(address).with_context(|| {
                let port = address.port();
                format!(
                    "port {port} ({what} of {}) cannot be used: end what listens there, or choose other ports with \
                     --port-base",
                    place.id
                )
            })?;
        }
    }
    Ok(places)
}

/// Clusters that choose freely take whole blocks of equal size, and hold the last port of theirs as long as they live.
fn anywhere(cells: usize) -> anyhow::Result<(Vec<Place>, Option<TcpListener>)> {
    let block = ports(cells).next_multiple_of(100);
    let blocks = (FREE.end() - FREE.start()) / block;
    let start = rand::random_range(0..blocks);
    for turn in 0..blocks {
        let base = FREE.start() + (start + turn) % blocks * block;
        let Ok(claim) = TcpListener::bind((Ipv4Addr::LOCALHOST, base + block - 1)) else { continue };
        if let Ok(places) = at(base, cells) {
            return Ok((places, Some(claim)));
        }
    }
    bail!("no {block} free ports in a row between {} and {}", FREE.start(), FREE.end())
}

pub(super) fn lay_out(base: u16, cells: usize) -> Vec<Place> {
    (0u16..)
        .step_by(usize::from(PER_CELL))
        .take(cells)
        .enumerate()
        .map(|(i, offset)| Place::new(i, cells, base + offset))
        .collect()
}

fn ports(cells: usize) -> u16 {
    u16::try_from(cells).expect("the number of cells was checked") * PER_CELL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demos_doors_are_where_its_readers_expect_them() {
        let places = lay_out(7000, 3);
        let seen: Vec<_> =
            places.iter().map(|p| (p.id.as_str(), p.region.as_str(), p.front.port(), p.admin.port())).collect();
        let expected =
            [("bj-1", "beijing", 7000, 7001), ("sh-1", "shanghai", 7010, 7011), ("bj-2", "beijing", 7020, 7021)];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_taken_port_is_named_with_the_option_that_helps() {
        let (places, claim) = anywhere(1).expect("free ports");
        drop(claim);
        let _taken = TcpListener::bind(places[0].peer).expect("free a moment ago");
        let error = format!("{:#}", at(places[0].front.port(), 1).expect_err("its peer port is taken"));
        assert!(error.contains(&places[0].peer.port().to_string()), "{error}");
        assert!(error.contains("--port-base") && error.contains("peer port of bj-1"), "{error}");
    }

    #[test]
    fn ports_past_the_last_one_are_refused() {
        let error = at(65_530, 2).expect_err("20 ports do not fit").to_string();
        assert!(error.contains("65530") && error.contains("20 ports"), "{error}");
    }

    #[test]
    fn two_clusters_never_choose_the_same_ports() {
        let chosen: Vec<_> = (0..20).map(|_| anywhere(2).expect("free ports")).collect();
        let mut fronts: Vec<_> = chosen.iter().flat_map(|(places, _)| places.iter().map(|p| p.front)).collect();
        fronts.sort_unstable();
        fronts.dedup();
        assert_eq!(fronts.len(), 40);
    }
}
