//! Wallets and payments, without orders.

use super::{
    FILE_DESCRIPTOR_SET, parse,
    proto::{
        GetPaymentRequest, GetPaymentResponse, PayRequest, PayResponse,
        payment_service_server::{PaymentService, PaymentServiceServer},
    },
};
use cell_map::UserKey;
use service_runtime::{Context, Parts, Service, bad_field, status};
use shop_logic::Money;
use shop_proto::trade_v1::{TopUpRequest, TopUpResponse, Wallet};
use sqlx::{Row as _, SqliteConnection};
use std::{error::Error, sync::Arc};
use storage::{IdempotencyKey, Migration, TableSpec, UserData, UserTables, WorkError};
use tonic::{Request, Response, Status, async_trait};
use trade::domain::{Entry, Posting, new_id};

const PAY: &str = "/lab.split.v1.PaymentService/Pay";
const TOP_UP: &str = "/lab.split.v1.PaymentService/TopUp";

type Result<T> = std::result::Result<T, WorkError<trade::Error>>;

/// The service `payment`.
pub(super) struct Payment;

impl Service for Payment {
    fn name(&self) -> &'static str {
        "payment"
    }

    fn descriptor_set(&self) -> &'static [u8] {
        FILE_DESCRIPTOR_SET
    }

    fn migrations(&self) -> Vec<Migration> {
        let sql = include_str!("../../migrations/split_payment.sql");
        vec![Migration { module: "split_payment", version: 1, name: "payments", sql }]
    }

    fn participants(&self) -> Vec<Arc<dyn UserData>> {
        let tables = vec![
            TableSpec::new("split_wallet", &[]),
            TableSpec::new("split_posting", &["entry_id", "account"]),
            TableSpec::new("split_payment", &["order_id"]),
        ];
        vec![Arc::new(UserTables::new("split_payment", tables))]
    }

    fn start(&self, context: &Context, parts: &mut Parts) -> std::result::Result<(), Box<dyn Error + Send + Sync>> {
        parts.serve(PaymentServiceServer::new(Payments(context.clone())));
        Ok(())
    }
}

struct Payments(Context);

#[async_trait]
impl PaymentService for Payments {
    /// That a wallet holds too little is an answer, kept like any other: an order is paid or not, whoever asks again.
    async fn pay(&self, request: Request<PayRequest>) -> std::result::Result<Response<PayResponse>, Status> {
        let request = request.into_inner();
        let user = parse::user(&request.user_id)?;
        let order = parse::order_id(&request.order_id)?.to_string();
        let amount = parse::amount(request.amount.as_ref())?;
        let key = IdempotencyKey::of(PAY, &order, &request).map_err(|error| bad_field("order_id", error))?;
        let (owner, now_ms) = (user.clone(), self.0.now_ms());
        let fence = self.0.fence(&user);
        let paid = self.0.db.idempotent(&fence, key, move |tx| {
            Box::pin(async move { pay(tx.conn(), &owner, order, amount, now_ms).await })
        });
        Ok(Response::new(paid.await.map_err(status::<trade::Error>)?.into_inner()))
    }

    async fn get_payment(
        &self,
        request: Request<GetPaymentRequest>,
    ) -> std::result::Result<Response<GetPaymentResponse>, Status> {
        let user = parse::user(&request.get_ref().user_id)?;
        let id = parse::order_id(&request.get_ref().order_id)?;
        let (owner, order) = (user.clone(), id.clone());
        let fence = self.0.fence(&user);
        let read = self
            .0
            .db
            .fenced_read(&fence, move |tx| Box::pin(async move { find(tx.conn(), &owner, order.as_str()).await }));
        let payment = read.await.map_err(status::<trade::Error>)?;
        Ok(Response::new(payment.ok_or(trade::Error::OrderNotFound(id))?))
    }

    async fn top_up(&self, request: Request<TopUpRequest>) -> std::result::Result<Response<TopUpResponse>, Status> {
        let request = request.into_inner();
        let user = parse::user(&request.user_id)?;
        let amount = parse::amount(request.amount.as_ref())?;
        let key = IdempotencyKey::of(TOP_UP, &request.request_id, &request);
        let key = key.map_err(|error| bad_field("request_id", error))?;
        let (owner, now_ms) = (user.clone(), self.0.now_ms());
        let fence = self.0.fence(&user);
        let filled = self.0.db.idempotent(&fence, key, move |tx| {
            Box::pin(async move {
                let balance = Some(parse::money(top_up(tx.conn(), &owner, amount, now_ms).await?));
                Ok(TopUpResponse { wallet: Some(Wallet { user_id: request.user_id, balance }) })
            })
        });
        Ok(Response::new(filled.await.map_err(status::<trade::Error>)?.into_inner()))
    }
}

async fn pay(
    conn: &mut SqliteConnection,
    user: &UserKey,
    order: String,
    amount: Money,
    now_ms: i64,
) -> Result<PayResponse> {
    let debited = sqlx::query(
        "UPDATE split_wallet SET balance_minor = balance_minor - ?2 WHERE user_key = ?1 AND balance_minor >= ?2",
    )
    .bind(user.as_bytes())
    .bind(amount.minor_units())
    .execute(&mut *conn)
    .await?;
    if debited.rows_affected() == 0 {
        return Ok(PayResponse::default());
    }
    let payment_id = new_id(now_ms);
    let entry = Entry::order(payment_id.clone(), amount);
    post(conn, user, &entry.or(Err(bad_amount()))?, now_ms).await?;
    sqlx::query(
        "INSERT INTO split_payment (user_key, order_id, payment_id, amount_minor, create_time_ms) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(user.as_bytes())
    .bind(order)
    .bind(&payment_id)
    .bind(amount.minor_units())
    .bind(now_ms)
    .execute(conn)
    .await?;
    Ok(PayResponse { payment_id })
}

async fn find(conn: &mut SqliteConnection, user: &UserKey, order: &str) -> Result<Option<GetPaymentResponse>> {
    let row = sqlx::query("SELECT payment_id, amount_minor FROM split_payment WHERE user_key = ? AND order_id = ?")
        .bind(user.as_bytes())
        .bind(order)
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let amount = Some(parse::money(row.try_get("amount_minor")?));
    Ok(Some(GetPaymentResponse { payment_id: row.try_get("payment_id")?, amount }))
}

async fn top_up(conn: &mut SqliteConnection, user: &UserKey, amount: Money, now_ms: i64) -> Result<i64> {
    let balance = sqlx::query_scalar(
        "INSERT INTO split_wallet (user_key, balance_minor) VALUES (?1, ?2)
         ON CONFLICT (user_key) DO UPDATE SET balance_minor = balance_minor + ?2 RETURNING balance_minor",
    )
    .bind(user.as_bytes())
    .bind(amount.minor_units())
    .fetch_one(&mut *conn)
    .await?;
    let entry = Entry::top_up(new_id(now_ms), amount);
    post(conn, user, &entry.or(Err(bad_amount()))?, now_ms).await?;
    Ok(balance)
}

async fn post(conn: &mut SqliteConnection, user: &UserKey, entry: &Entry, now_ms: i64) -> Result<()> {
    let [from, to]: &[Posting; 2] = entry.postings();
    sqlx::query(
        "INSERT INTO split_posting (user_key, entry_id, kind, create_time_ms, account, amount_minor)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6), (?1, ?2, ?3, ?4, ?7, ?8)",
    )
    .bind(user.as_bytes())
    .bind(entry.id())
    .bind(entry.kind().as_str())
    .bind(now_ms)
    .bind(from.account.as_str())
    .bind(from.amount.minor_units())
    .bind(to.account.as_str())
    .bind(to.amount.minor_units())
    .execute(conn)
    .await?;
    Ok(())
}

/// An amount that has no opposite; positive ones have.
fn bad_amount() -> WorkError<trade::Error> {
    WorkError::Business(trade::Error::Stored { what: "amount" })
}
