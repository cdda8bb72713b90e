use super::*;
use crate::Token;

#[test]
fn a_batch_asks_for_what_satisfies_all() {
    let token = |position| Fresh::AtLeast(Token::new("bj-1".parse().expect("a cell"), 0, position));
    let age = Fresh::MaxAge(Duration::from_secs(1));
    for (all, expected) in [
        (vec![Fresh::Any, Fresh::Any], Fresh::Any),
        (vec![age, Fresh::StaleIfError(Duration::ZERO)], Fresh::Any),
        (vec![token(1), token(1)], token(1)),
        // Tokens of one user can be compared, those of two cannot: the home itself satisfies each.
        (vec![token(1), token(2)], Fresh::Authoritative),
        (vec![Fresh::Any, token(1)], Fresh::Authoritative),
        (vec![Fresh::Authoritative, Fresh::Any], Fresh::Authoritative),
    ] {
        assert_eq!(freshest(all.iter()), expected, "{all:?}");
    }
}
