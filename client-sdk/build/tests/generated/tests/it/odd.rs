//! Names, comments, and what is left out.

use client_sdk::{Method, MethodPolicy, Scope};
use client_sdk_generated::{clients, r#gen, with_tonic};
use prost_reflect::DescriptorPool;

#[test]
fn a_policy_is_what_the_proto_says() {
    use client_sdk::{Criticality, Idempotency};
    use r#gen::shapes::v1::shape_service_methods::GetWhole;
    let want = MethodPolicy::new("/gen.shapes.v1.ShapeService/GetWhole", Scope::User)
        .criticality(Criticality::NonCore)
        .side_effects(Idempotency::NoSideEffects)
        .default_deadline_ms(1500)
        .max_deadline_ms(9000)
        .max_request_bytes(4096)
        .batch("/gen.shapes.v1.ShapeService/BatchGetWhole", 50)
        .local_logic("whole", 2)
        .cache_ms(60_000, 5)
        .hedge_permille(20);
    assert_eq!(GetWhole::POLICY, want);
    let order = &r#gen::shapes::v1::shape_service_methods::GetOrder::POLICY;
    assert!(order.idempotency_key && order.repeatable() && !order.reads());
}

/// Compiles if the names are these, and their types.
#[test]
#[expect(deprecated, reason = "the proto says so")]
fn keywords_and_names_of_the_prelude_are_names() {
    let mock = r#gen::odd::v1::SelfMock::new();
    let client = r#gen::odd::v1::SelfClient::new(&mock.mesh());
    drop(client.new_(r#gen::r#type::v1::Type { r#yield: Some(b"a".to_vec()) }));
    drop(client.r#match(r#gen::odd::v1::Match { r#fn: String::new(), ..Default::default() }));
    drop(client.self_(()));
    let _ = (r#gen::odd::v1::Option {}, r#gen::odd::v1::Vec {}, r#gen::odd::v1::r#match::crate_::Self_::default());
}

#[test]
fn imported_services_get_no_client() {
    // The package has messages only.
    let source = include_str!(concat!(env!("OUT_DIR"), "/gen.type.v1.rs"));
    assert!(source.contains("pub struct Type") && !source.contains("TypeService"), "{source}");
    assert!(r#gen::shapes::v1::FILE_DESCRIPTOR_SET == r#gen::odd::v1::FILE_DESCRIPTOR_SET);
}

#[test]
fn documentation_says_what_no_client_can_call_and_what_needs_a_key() {
    let source = include_str!(concat!(env!("OUT_DIR"), "/gen.odd.v1.rs"));
    for line in [
        "/// Without `Upload`: it has a stream of requests, which no mesh routes.",
        "/// The request does not name its user: the call's `user_key` does.",
    ] {
        assert!(source.contains(line), "{line}");
    }
    assert!(!source.contains("pub fn upload"));
}

#[test]
fn descriptors_keep_their_options_and_comments() {
    let pool = DescriptorPool::decode(clients::r#gen::shapes::v1::FILE_DESCRIPTOR_SET).unwrap();
    let policy = pool.get_extension_by_name("cellmesh.policy.v1.policy").unwrap();
    let service = pool.get_service_by_name("gen.shapes.v1.ShapeService").unwrap();
    assert!(service.methods().all(|method| method.options().has_extension(&policy)));
    assert!(service.parent_file().file_descriptor_proto().source_code_info.is_some());
}

#[test]
fn tonics_code_stands_beside_ours() {
    use with_tonic::r#gen::shapes::v1::{
        GetOrderRequest, shape_service_client as client, shape_service_server as server,
    };
    #[expect(dead_code, reason = "compiles if there is such a trait, and such a server")]
    fn served<S: server::ShapeService>(service: S) -> server::ShapeServiceServer<S> {
        server::ShapeServiceServer::new(service)
    }
    let _ = client::ShapeServiceClient::<tonic::transport::Channel>::new;
    let order: prost::bytes::Bytes = GetOrderRequest::default().order;
    assert!(order.is_empty(), "messages are configured");
}
