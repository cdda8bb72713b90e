//! Which crate stands where. A crate may depend on crates of lower layers only.

/// The workspace's crates, lowest layer first. A new crate takes its place here.
pub(super) const LAYERS: &[&[&str]] = &[
    // Pure: no I/O, no clock, no random numbers.
    &["cell-map"],
    &["mesh-policy", "shop-logic"],
    &["mesh-routing"],
    // Wire: generated types and conversions.
    &["mesh-proto"],
    &["shop-proto"],
    // Tools.
    &["replication"],
    &["map-store", "mesh-layers", "storage", "testkit"],
    // SDK.
    &["client-sdk", "client-sdk-build"],
    &["service-runtime", "client-sdk-generated"],
    // Units. None of them knows another.
    &["member", "catalog", "campaign", "trade", "shop-client", "cell-router"],
    // Wholes.
    &["cell-services", "cellctl"],
    &["lab"],
];

/// Crates that stand beside the layers and use none of ours.
pub(super) const ALONE: &[&str] = &["xtask"];

/// The example that runs on the mesh. The mesh itself knows nothing of it: a stranger's protos are served alike.
pub(super) const SHOP: &[&str] =
    &["shop-logic", "shop-proto", "shop-client", "member", "catalog", "campaign", "trade", "cell-services"];

/// Who besides the shop itself may know the shop: the demo and the experiments.
pub(super) const SHOP_USERS: &[&str] = &["cellctl", "lab"];

/// Crates that only decide.
pub(super) const PURE: &[&str] = &["cell-map", "mesh-policy", "mesh-routing", "shop-logic"];

/// What a pure crate must not reach, not even through others: runtimes, sockets, clocks, random numbers.
pub(super) const IMPURE: &[&str] =
    &["tokio", "mio", "socket2", "hyper", "tonic", "sqlx-core", "rand", "getrandom", "chrono", "tracing"];

/// Helpers of tests: others name them as dev-dependencies. The lab's programs are tests themselves.
pub(super) const TEST_ONLY: &[&str] = &["testkit"];

/// Who may use [`TEST_ONLY`] crates in its programs.
pub(super) const TEST_USERS: &[&str] = &["lab"];
