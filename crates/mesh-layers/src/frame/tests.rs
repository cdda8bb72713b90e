use super::*;
use crate::budget::ByteBudget;
use flate2::{Compression, write::GzEncoder, write::ZlibEncoder};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use proptest::prelude::*;
use std::{convert::Infallible, io::Write};

const LIMIT: usize = 1000;

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut frame = encode(message).to_vec();
    frame[0] = flag;
    frame
}

fn only(body: Vec<u8>, encoding: Encoding) -> Result<Bytes, FrameError> {
    only_message(&body.into(), encoding, LIMIT)
}

fn code(error: FrameError) -> Code {
    MeshError::from(error).code()
}

#[test]
fn one_message_is_taken_in_every_encoding() {
    let zlib = {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"hello").unwrap();
        encoder.finish().unwrap()
    };
    for (body, encoding) in [
        (framed(0, b"hello"), Encoding::Identity),
        (framed(0, b"hello"), Encoding::Gzip),
        (framed(1, &gzip(b"hello")), Encoding::Gzip),
        (framed(1, &zlib), Encoding::Deflate),
    ] {
        assert_eq!(only(body, encoding).unwrap(), &b"hello"[..]);
    }
    assert_eq!(only(framed(0, b""), Encoding::Identity).unwrap(), &b""[..]);
}

#[test]
fn bad_bodies_end_as_conformance_demands() {
    let two = [framed(0, b"a"), framed(0, b"b")].concat();
    let bomb = gzip(&vec![0; 500_000]);
    assert!(bomb.len() < LIMIT, "the bomb must pass the limit on the wire");
    let mut long = framed(0, b"");
    long[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
    for (body, encoding, expected) in [
        (vec![], Encoding::Identity, Code::Unimplemented),
        (two, Encoding::Identity, Code::Unimplemented),
        (framed(0, b"abc")[..6].to_vec(), Encoding::Identity, Code::Internal),
        (vec![0, 0], Encoding::Identity, Code::Internal),
        (framed(2, b"abc"), Encoding::Identity, Code::Internal),
        (framed(1, b"abc"), Encoding::Identity, Code::Internal),
        (framed(1, b"abc"), Encoding::Gzip, Code::Internal),
        (framed(1, &bomb), Encoding::Gzip, Code::ResourceExhausted),
        (framed(0, &[0; LIMIT + 1]), Encoding::Identity, Code::ResourceExhausted),
        (long, Encoding::Identity, Code::ResourceExhausted),
    ] {
        let shown = format!("{:?} {encoding:?}", &body[..body.len().min(8)]);
        assert_eq!(code(only(body, encoding).unwrap_err()), expected, "{shown}");
    }
}

#[test]
fn an_unknown_encoding_is_unimplemented() {
    let mut headers = HeaderMap::new();
    headers.insert(GRPC_ENCODING, "br".parse().unwrap());
    assert_eq!(code(Encoding::of(&headers).unwrap_err()), Code::Unimplemented);
}

#[tokio::test]
async fn a_body_in_pieces_is_one_message_and_pays_its_bytes() {
    let frame = framed(0, b"hello");
    let budget = ByteBudget::new(frame.len());
    let pieces =
        frame.chunks(2).map(|c| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(c)))).collect::<Vec<_>>();
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let collected = collect(body, Encoding::Identity, LIMIT, &budget).await.unwrap();
    assert_eq!(collected.message(), &b"hello"[..]);
    assert_eq!(budget.available(), 0);
    drop(collected);
    assert_eq!(budget.available(), frame.len());
}

#[tokio::test]
async fn a_spent_budget_refuses_instead_of_growing() {
    let budget = ByteBudget::new(8);
    let body = Full::new(Bytes::from(framed(0, b"hello")));
    let error = collect(body, Encoding::Identity, LIMIT, &budget).await.unwrap_err();
    assert_eq!(error.reason(), Reason::RateLimited);
    assert_eq!(budget.available(), 8);
    // The wire bytes fit, the inflated ones do not.
    let frame = framed(1, &gzip(&[0; 900]));
    let budget = ByteBudget::new(frame.len() + 100);
    let error = collect(Full::new(Bytes::from(frame)), Encoding::Gzip, LIMIT, &budget).await.unwrap_err();
    assert_eq!(error.reason(), Reason::RateLimited);
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic_nor_exceed_the_limit(bytes: Vec<u8>, gz: bool) {
        let encoding = if gz { Encoding::Gzip } else { Encoding::Identity };
        if let Ok(message) = only(bytes, encoding) {
            prop_assert!(message.len() <= LIMIT);
        }
    }

    #[test]
    fn the_first_message_is_found_as_soon_as_it_is_complete(message: Vec<u8>, tail: Vec<u8>) {
        let frame = encode(&message);
        let body = [&frame[..], &tail].concat();
        for cut in 0..frame.len() {
            prop_assert_eq!(first_message(&body[..cut], Encoding::Identity, usize::MAX >> 1), Ok(None));
        }
        let first = first_message(&body, Encoding::Identity, usize::MAX >> 1).unwrap().unwrap();
        prop_assert_eq!(first.end, frame.len());
        prop_assert_eq!(&first.message[..], &message[..]);
    }
}
