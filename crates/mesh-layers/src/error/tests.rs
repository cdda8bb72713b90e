use super::*;
use crate::metadata::{GRPC_STATUS, GRPC_STATUS_DETAILS, UNPROCESSED};
use cell_map::{BucketEpoch, MapEpoch, OwnerEpochs, UserEpoch};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

fn redirect() -> WrongCell {
    WrongCell {
        owner: CellId::new("sh-1").unwrap(),
        epochs: OwnerEpochs::new(UserEpoch::new(7), BucketEpoch::new(2)),
        map_epoch: Some(MapEpoch::new(9)),
    }
}

#[test]
fn wrong_cell_survives_the_wire() {
    let response: http::Response<()> = MeshError::wrong_cell(&redirect()).into_http();
    assert_eq!(response.headers()[GRPC_STATUS], "9");
    assert_eq!(WrongCell::decode(response.headers()), Some(redirect()));
    assert_eq!(Redirect::decode(response.headers()), Some(Redirect::WrongCell { to: redirect(), unprocessed: false }));
}

#[test]
fn moving_survives_the_wire_with_its_delay() {
    let mut response: http::Response<()> = MeshError::moving(Duration::from_millis(30)).into_http();
    response.headers_mut().insert(UNPROCESSED, HeaderValue::from_static("1"));
    let expected = Redirect::Moving { retry_after: Duration::from_millis(30), unprocessed: true };
    assert_eq!(Redirect::decode(response.headers()), Some(expected));
}

#[test]
fn reasons_are_the_ones_of_the_wire_and_unique() {
    for reason in Reason::ALL {
        assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        assert_ne!(reason.code(), Code::Ok);
    }
    assert_eq!(Reason::parse("wrong_cell"), None);
}

#[test]
fn violations_reach_the_caller() {
    let status = Status::from(MeshError::bad_request("user_id is empty").violation("user_id", "is empty"));
    let bad = status.get_details_bad_request().expect("the status was made with BadRequest");
    assert_eq!(bad.field_violations[0].field, "user_id");
    let details = Details::from_status(&status).expect("it has ErrorInfo");
    assert_eq!(details.mesh_reason(), Some(Reason::BadRequest));
}

#[test]
fn another_domain_is_not_the_mesh() {
    let status = refusal(Code::FailedPrecondition, "shop.example", "WRONG_CELL", "no", [("owner", "sh-1".to_owned())]);
    let response: http::Response<()> = status.into_http();
    assert_eq!(Redirect::decode(response.headers()), None);
    let details = Details::from_headers(response.headers()).expect("it has ErrorInfo");
    assert_eq!(details.mesh_reason(), None);
    assert_eq!(details.reason, "WRONG_CELL");
}

proptest! {
    #[test]
    fn hostile_details_never_panic(value in proptest::collection::vec(0x20_u8..0x7f, 0..200), bytes: Vec<u8>) {
        use base64::Engine;
        let encoded = crate::metadata::BASE64.encode(&bytes).into_bytes();
        for value in [value, encoded] {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_STATUS, HeaderValue::from_static("9"));
            headers.insert(GRPC_STATUS_DETAILS, HeaderValue::from_bytes(&value).unwrap());
            let _ = Redirect::decode(&headers);
        }
    }
}
