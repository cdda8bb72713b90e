//! Keyset paging with sealed tokens.

use super::{Factory, SuiteError, database, here, key_of, plain, put, seeded};
use crate::{PageError, PageScope, PageSize, SealError, SealKey, SealKeys, Value, WorkError};
use cell_map::UserKey;
use rand::RngExt as _;

const METHOD: &str = "/suite.v1.Suite/ListItems";

fn keys(ids: &[u32]) -> SealKeys {
    let key = |id: &u32| SealKey { id: *id, secret: [u8::try_from(*id).expect("small"); 32] };
    SealKeys::new(&ids.iter().map(key).collect::<Vec<_>>()).expect("ids differ")
}

fn scope(user: &UserKey) -> PageScope<'_> {
    PageScope { method: METHOD, user: Some(user), filter: b"" }
}

/// One page of an account's items, newest (highest) first, as a service would give it.
async fn page<E: crate::Engine>(
    db: &crate::Db<E>,
    user: &UserKey,
    size: PageSize,
    token: &str,
) -> Result<(Vec<i64>, String), PageError> {
    let after: Option<i64> = scope(user).open(&keys(&[1]), token)?;
    let owned = user.clone();
    let request = plain(user);
    let rows = db
        .fenced_read(&request, move |tx| {
            Box::pin(async move {
                let sql = "SELECT item FROM suite_account WHERE user_key = ? AND item < ? ORDER BY item DESC LIMIT ?";
                let values: Vec<Value> =
                    vec![owned.as_bytes().into(), after.unwrap_or(i64::MAX).into(), size.limit().into()];
                let mut items = vec![];
                for mut row in tx.query(sql, values).await? {
                    items.push(row.integer()?);
                }
                Ok::<_, WorkError<SuiteError>>(items)
            })
        })
        .await
        .expect("home");
    let (items, next) = size.cut(rows, |item| *item);
    Ok((items, next.map_or_else(String::new, |position| scope(user).seal(&keys(&[1]), &position))))
}

/// Rows that are there throughout appear exactly once, however many come meanwhile.
pub async fn pages_neither_repeat_nor_skip<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let user = key_of(&here(), 0);
    let mut rng = seeded("pages_neither_repeat_nor_skip");
    let mut old: Vec<i64> = (0..60).map(|n| n * 1000).collect();
    for item in &old {
        put(&db, &user, *item, 1).await.expect("home");
    }
    let size = PageSize::from_request(7, 20, 100).expect("positive");
    let (mut token, mut seen) = (String::new(), vec![]);
    loop {
        let (items, next) = page(&db, &user, size, &token).await.expect("a page");
        assert!(items.len() <= 7);
        seen.extend(items);
        if next.is_empty() {
            break;
        }
        token = next;
        put(&db, &user, rng.random_range(0..60_000) | 1, 1).await.expect("home");
    }
    assert!(seen.is_sorted_by(|a, b| a > b), "in order and without repetition: {seen:?}");
    seen.retain(|item| item % 1000 == 0);
    seen.reverse();
    old.dedup();
    assert_eq!(seen, old);
}

/// A token of another user, method, filter or key, or a changed one, does not open.
pub async fn a_token_opens_for_its_own_list_only<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let (ann, bob) = (key_of(&here(), 0), key_of(&here(), 1));
    for item in 0..5 {
        put(&db, &ann, item, 1).await.expect("home");
    }
    let size = PageSize::from_request(2, 20, 100).expect("positive");
    let (_, token) = page(&db, &ann, size, "").await.expect("a page");
    assert_eq!(page(&db, &ann, size, &token).await.expect("a page").0, [2, 1]);
    assert_eq!(page(&db, &bob, size, &token).await, Err(SealError::Invalid.into()));
    let other = PageScope { method: "/suite.v1.Suite/Other", ..scope(&ann) };
    assert_eq!(other.open::<i64>(&keys(&[1]), &token), Err(SealError::Invalid.into()));
    assert_eq!(scope(&ann).open::<i64>(&keys(&[2]), &token), Err(SealError::UnknownKey(1).into()));
    assert_eq!(scope(&ann).open::<i64>(&keys(&[2, 1]), &token), Ok(Some(3)), "an old key still opens");
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ASCII");
        assert!(page(&db, &ann, size, &changed).await.is_err(), "changed at {at}");
    }
    assert_eq!(page(&db, &ann, size, "not a token").await, Err(SealError::Malformed.into()));
}
