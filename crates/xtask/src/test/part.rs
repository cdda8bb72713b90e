//! The parts of a run, cheap ones first.

use super::tool::Tool;
use clap::ValueEnum;

/// A part that can be chosen with `--only`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// Formatting
    Fmt,
    /// Dependencies point downward
    Layers,
    /// Lints
    Clippy,
    /// Links in the documentation
    Doc,
    /// Licences, duplicates, banned crates and sources
    Deny,
    /// Style of the .proto files
    Buf,
    /// The chart: lint, rendering, schemas, what it refuses
    Helm,
    /// Release binaries
    Build,
    /// Tests of single crates
    Unit,
    /// Examples in the documentation
    Docs,
    /// A crate of somebody else's, outside the workspace, that uses the client SDK
    Stranger,
    /// Tests of whole processes
    E2e,
    /// The demo, from its start to Ctrl-C
    Demo,
}

impl Part {
    /// The parts asked for, in their order; all if none was.
    pub fn chosen(only: &[Self]) -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|part| only.is_empty() || only.contains(part)).collect()
    }

    /// Whether the part runs a tool.
    pub fn needs(self, tool: Tool) -> bool {
        match self {
            Self::Deny => tool == Tool::CargoDeny,
            Self::Buf => tool == Tool::Buf,
            Self::Helm => matches!(tool, Tool::Helm | Tool::Kubeconform),
            Self::E2e | Self::Demo => tool == Tool::Grpcurl,
            Self::Fmt
            | Self::Layers
            | Self::Clippy
            | Self::Doc
            | Self::Build
            | Self::Unit
            | Self::Docs
            | Self::Stranger => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_run_in_their_order_whatever_the_order_asked() {
        assert_eq!(Part::chosen(&[Part::Unit, Part::Fmt]), [Part::Fmt, Part::Unit]);
        assert_eq!(Part::chosen(&[]).len(), Part::value_variants().len());
    }
}
