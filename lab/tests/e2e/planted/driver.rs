//! Places orders as a client that repeats until it knows, against trade's own transaction, honestly or with one bug.

use lab::{checker::History, trade_db::TradeDb};
use shop_proto::trade_v1 as pb;
use std::path::{Path, PathBuf};
use storage::{IdempotencyKey, WorkError};
use trade::{domain::Placing, store};

/// What is wrong with the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Orders are written without asking who is home.
    NoFence,
    /// A repeated request places another order.
    NoIdempotency,
    /// The event is written in a transaction of its own, and the process may die between the two.
    OutboxOutside,
}

pub struct Driver {
    at: TradeDb,
    path: PathBuf,
}

const ORDERS: usize = 60;

impl Driver {
    pub async fn start(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("cell.db");
        let at = TradeDb::create(&path, 4).await?;
        at.forget_foreigners().await?;
        Ok(Self { at, path })
    }

    /// Every third request's first answer gets lost, so that it is repeated.
    pub async fn place_orders(&self, bug: Option<Bug>) -> anyhow::Result<History> {
        let mut history = History::default();
        for user in &self.at.users {
            history.topped_up.insert(TradeDb::text(user)?, 50_000_000);
        }
        for n in 0..ORDERS {
            let users = if n % 5 == 0 { &self.at.foreigners } else { &self.at.users };
            let user = &users[n % users.len()];
            let request = format!("request-{n}");
            let attempts = if n % 3 == 0 { 2 } else { 1 };
            let mut told = None;
            for attempt in 0..attempts {
                let placing = self.at.placing(user, n)?;
                told = self.place(&request, placing, bug, n % 7 == 3 && attempt == 0).await?;
            }
            match told {
                Some(order) => drop(history.placed.insert((TradeDb::text(user)?, request), order)),
                None if bug == Some(Bug::OutboxOutside) => history.unknown += 1,
                None => {}
            }
        }
        Ok(history)
    }

    /// The order's id, or `None` if the call was refused or died.
    async fn place(
        &self,
        request: &str,
        placing: Placing,
        bug: Option<Bug>,
        dies: bool,
    ) -> anyhow::Result<Option<String>> {
        let user = placing.user.clone();
        let fence = self.at.fence(&user);
        let placed = match bug {
            Some(Bug::NoFence) => {
                // The wallet is empty in the wrong cell; a cell that does not fence does not notice that either.
                let order = placing.order_id.clone();
                let write = self.at.db.global::<_, trade::Error, _>(move |tx| {
                    Box::pin(async move {
                        let now = tx.now_ms();
                        let amount = shop_logic::Money::new(shop_logic::Currency::CNY, 100);
                        store::top_up(tx.conn(), &placing.user, trade::domain::new_id(now), amount, now).await?;
                        store::place_order(tx, &placing).await
                    })
                });
                write.await.map(|_| order).ok()
            }
            Some(Bug::NoIdempotency) => {
                let write = self
                    .at
                    .db
                    .fenced(&fence, move |tx| Box::pin(async move { Ok(store::place_order(tx, &placing).await?.id) }));
                write.await.ok()
            }
            Some(Bug::OutboxOutside) => {
                let key = IdempotencyKey::new("planted", request, b"")?;
                let write = self.at.db.idempotent(&fence, key, move |tx| {
                    Box::pin(async move {
                        let order = store::place_order(tx, &placing).await?;
                        let undo = "DELETE FROM outbox WHERE id = (SELECT MAX(id) FROM outbox)";
                        tx.execute(undo, vec![]).await.map_err(WorkError::from)?;
                        Ok(pb::Order { order_id: order.id, ..pb::Order::default() })
                    })
                });
                match write.await {
                    Ok(outcome) if !dies => {
                        let order = outcome.into_inner();
                        let event = storage::OutboxEvent::new("order.placed", order.order_id.clone().into_bytes());
                        let emit = self.at.db.fenced::<_, trade::Error, _>(&fence, move |tx| {
                            Box::pin(async move { Ok(tx.emit(event).await?) })
                        });
                        emit.await?;
                        Some(order.order_id)
                    }
                    _ => None,
                }
            }
            None => {
                let key = IdempotencyKey::new("honest", request, b"")?;
                let write = self.at.db.idempotent(&fence, key, move |tx| {
                    Box::pin(async move {
                        let order = store::place_order(tx, &placing).await?;
                        Ok(pb::Order { order_id: order.id, ..pb::Order::default() })
                    })
                });
                write.await.ok().map(|outcome| outcome.into_inner().order_id)
            }
        };
        Ok(placed)
    }

    pub async fn close(self) -> Vec<PathBuf> {
        self.at.db.close().await;
        vec![self.path]
    }
}
