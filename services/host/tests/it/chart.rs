//! The chart's list of who hosts what (`services.grouping: each`).

use mesh_policy::PolicyTable;

const LIST: &str = include_str!("../../../../helm/cellmesh/files/services.yaml");

#[test]
fn every_service_has_one_place_in_the_chart() {
    let services = cell_services::services();
    for service in &services {
        let name = service.name();
        assert!(LIST.contains(&format!("name: {name},")), "helm/cellmesh/files/services.yaml lacks the process {name}");
    }
    let table = PolicyTable::from_descriptor_sets(services.iter().map(|service| service.descriptor_set()));
    for name in table.expect("the shop's policies agree").services() {
        let hosts = LIST.split([' ', ',', '[', ']', '}', '\n']).filter(|word| *word == name).count();
        assert_eq!(hosts, 1, "helm/cellmesh/files/services.yaml names {name} {hosts} times");
    }
}
