use super::*;
use crate::{
    CampaignId, Campaigns, Currency, Line, Money, Quantity, Sku,
    campaign::{BasisPoints, Benefit, Coupon, Kind, ProductDiscount, Redeeming, Terms, Window, quote},
};
use proptest::prelude::*;

const NOW: i64 = 1_700_000_000_000;
const TERMS: PreviewTerms = PreviewTerms { catalog_version: 7, campaign_version: 9, expire_time_ms: NOW + 1 };

fn keys(ids: &[u32]) -> PreviewKeys {
    let key = |&id: &u32| PreviewKey::new(id, [u8::try_from(id).expect("small"); 32]);
    PreviewKeys::new(ids.iter().map(key).collect()).expect("not empty")
}

fn lines(of: &[(&str, i32)]) -> Lines {
    let line = |&(sku, n): &(&str, i32)| Line {
        sku: Sku::new(sku).expect("valid"),
        quantity: Quantity::new(n).expect("valid"),
    };
    Lines::new(of.iter().map(line).collect()).expect("valid")
}

fn code(text: &str) -> CouponCode {
    CouponCode::new(text).expect("valid")
}

fn fen(minor_units: i64) -> Money {
    Money::new(Currency::CNY, minor_units)
}

fn campaigns() -> Campaigns {
    let points = BasisPoints::new(1_000).expect("in range");
    let window = Window::new(0, i64::MAX).expect("not empty");
    let terms = |id: &str, kind| Terms { id: CampaignId::new(id).expect("valid"), window, paused: false, kind };
    let cups = ProductDiscount::new(vec![Sku::new("cup").expect("valid")], points).expect("valid");
    let coupon = Coupon::new(code("CODE-1"), 3, fen(100), Benefit::Amount(fen(50))).expect("valid");
    let mut campaigns = Campaigns::default();
    campaigns.put(terms("cups", Kind::Product(cups)));
    campaigns.put(terms("fifty", Kind::Coupon(coupon)));
    campaigns
}

/// A unit costs what the first letter of its SKU is in ASCII.
fn quoted(asked: &Asked<'_>) -> Quote {
    let redeeming = asked.coupon.map(|code| Redeeming { code, redeemed: |_: &CampaignId| 0 });
    let list = |sku: &Sku| Some(fen(i64::from(sku.as_str().as_bytes()[0])));
    quote(asked.lines, list, &campaigns(), redeeming, NOW).expect("small")
}

fn seal(ids: &[u32], asked: &Asked<'_>) -> String {
    keys(ids).seal(asked, &quoted(asked), TERMS)
}

fn asked<'a>(user: &'a str, lines: &'a Lines, coupon: Option<&'a CouponCode>) -> Asked<'a> {
    Asked { user: user.as_bytes(), lines, coupon }
}

#[test]
fn a_token_holds_its_price_in_any_sequence_of_lines() {
    let (of, swapped, code) = (lines(&[("tea", 2), ("cup", 1)]), lines(&[("cup", 1), ("tea", 2)]), code("CODE-1"));
    for coupon in [None, Some(&code)] {
        let token = seal(&[1], &asked("u", &of, coupon));
        for lines in [&of, &swapped] {
            let asked = asked("u", lines, coupon);
            let opened = keys(&[1]).open(&token, &asked, NOW).expect("valid");
            assert_eq!(opened, Preview { quote: quoted(&asked), terms: TERMS });
            let stands = PreviewStanding::Stands { expire_time_ms: NOW + 1 };
            assert_eq!(check_preview(&token, &asked, NOW), stands);
        }
    }
}

#[test]
fn a_token_serves_one_user_one_set_of_lines_and_one_coupon() {
    let (of, one, other) = (lines(&[("tea", 2), ("cup", 1)]), code("CODE-1"), code("CODE-2"));
    let token = seal(&[1], &asked("u", &of, Some(&one)));
    for (asked, what) in [
        (asked("v", &of, Some(&one)), "another user"),
        (asked("u", &lines(&[("tea", 3), ("cup", 1)]), Some(&one)), "another quantity"),
        (asked("u", &lines(&[("tea", 2)]), Some(&one)), "a line less"),
        (asked("u", &lines(&[("tea", 2), ("cap", 1)]), Some(&one)), "another product"),
        (asked("u", &of, Some(&other)), "another coupon"),
        (asked("u", &of, None), "no coupon"),
    ] {
        assert_eq!(keys(&[1]).open(&token, &asked, NOW), Err(PreviewError::Mismatch), "{what}");
        assert_eq!(check_preview(&token, &asked, NOW + 2), PreviewStanding::OtherLines, "{what}");
    }
}

#[test]
fn a_token_expires() {
    let of = lines(&[("tea", 1)]);
    let asked = asked("u", &of, None);
    let (token, expire_time_ms) = (seal(&[1], &asked), NOW + 1);
    assert_eq!(keys(&[1]).open(&token, &asked, NOW + 1), Err(PreviewError::Expired { expire_time_ms }));
    assert_eq!(check_preview(&token, &asked, NOW + 1), PreviewStanding::Expired { expire_time_ms });
    assert!(keys(&[1]).open(&token, &asked, NOW).is_ok());
}

#[test]
fn keys_rotate() {
    let of = lines(&[("tea", 1)]);
    let asked = asked("u", &of, None);
    let old = seal(&[1], &asked);
    assert!(keys(&[2, 1]).open(&old, &asked, NOW).is_ok(), "the old key still opens");
    assert_eq!(keys(&[2]).open(&old, &asked, NOW), Err(PreviewError::Mismatch), "a dropped key does not");
    assert!(keys(&[2]).open(&seal(&[2, 1], &asked), &asked, NOW).is_ok(), "the first key seals");
}

/// What keys are for is hidden from who has none, but for what stands in clear text.
#[test]
fn a_forged_token_stands_until_it_is_opened() {
    let of = lines(&[("tea", 1)]);
    let asked = asked("u", &of, None);
    let forged = seal(&[3], &asked);
    assert!(matches!(check_preview(&forged, &asked, NOW), PreviewStanding::Stands { .. }));
    assert_eq!(keys(&[1]).open(&forged, &asked, NOW), Err(PreviewError::Mismatch));
}

#[test]
fn the_layout_never_drifts() {
    let (of, code) = (lines(&[("tea", 2), ("cup", 1)]), code("CODE-1"));
    assert_eq!(seal(&[1], &asked("user-1", &of, Some(&code))), GOLDEN);
}
const GOLDEN: &str = "\
    AgAAAAEAAAAAAAAABwAAAAAAAAAJAAABi8_laAE4bbpzYt4oPF4WU3NYpAlUQ05ZAgAAAAAAAABjAAAAAAAAAHQCAAAAAAAAAAAJ\
    BGN1cHP_AAAAAAAAADIFZmlmdHkAAAADijlyQ0LBe1JpdpPA-7bv0RkvSmiOctKh5XNuLSmvcic";

#[test]
fn a_token_of_the_layout_before_is_told_so() {
    let of = lines(&[("tea", 2), ("cup", 1)]);
    let asked = asked("user-1", &of, None);
    let refused = Err(PreviewError::Outdated { found: 1, allowed: 2 });
    assert_eq!(keys(&[1]).open(LAYOUT_1, &asked, NOW - 1), refused);
    assert_eq!(check_preview(LAYOUT_1, &asked, NOW - 1), PreviewStanding::Malformed);
}
const LAYOUT_1: &str =
    "AQAAAAEAAAAAAAAABwAAAYvP5WgAQ05ZAgAAAAAAAADHAAAAAAAAANixvd2K0Hjppbj6anyo_IrJ3CtVmXNxABng9F3iaJbHcQ";

proptest! {
    #[test]
    fn a_changed_token_is_refused(at: prop::sample::Index, to in prop::char::range('0', 'z')) {
        let (of, code) = (lines(&[("tea", 2), ("cup", 1)]), code("CODE-1"));
        let asked = asked("u", &of, Some(&code));
        let token = seal(&[1], &asked);
        let mut changed: Vec<char> = token.chars().collect();
        let at = at.index(changed.len());
        changed[at] = to;
        let changed: String = changed.into_iter().collect();
        prop_assume!(changed != token);
        let refused = keys(&[1]).open(&changed, &asked, NOW);
        let said = matches!(refused, Err(PreviewError::Mismatch | PreviewError::Outdated { .. }));
        prop_assert!(said, "{:?}", refused);
    }

    #[test]
    fn hostile_text_is_refused(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let of = lines(&[("tea", 1)]);
        let asked = asked("u", &of, None);
        let mut second = bytes;
        second.splice(0..second.len().min(1), [2]);
        for text in [text, URL_SAFE_NO_PAD.encode(second), "A".repeat(100_000)] {
            prop_assert_eq!(keys(&[1]).open(&text, &asked, NOW), Err(PreviewError::Mismatch));
            let stands = matches!(check_preview(&text, &asked, NOW), PreviewStanding::Stands { .. });
            prop_assert!(!stands);
        }
    }
}
