//! A participant that works from a list of tables.

use super::{ExportCursor, ExportPage, Rows, USER_KEY, UserData};
use crate::{BoxFuture, Engine, StorageError, Value};
use cell_map::UserKey;

/// Rows read at a time for a digest.
const DIGEST_PAGE: u32 = 500;

/// One user-scoped table.
#[derive(Clone, Debug)]
pub struct TableSpec {
    table: &'static str,
    order: &'static [&'static str],
    omit: &'static [&'static str],
    only: Option<&'static str>,
    import_with: Option<(&'static str, &'static str)>,
}

impl TableSpec {
    /// A table whose rows of one user are told apart and ordered by the columns `order`; together with `user_key` they
    /// must be unique and not null. Empty for a table with one row per user.
    #[must_use]
    pub const fn new(table: &'static str, order: &'static [&'static str]) -> Self {
        Self { table, order, omit: &[], only: None, import_with: None }
    }

    /// Leaves out columns that belong to the cell, such as generated row numbers.
    #[must_use]
    pub const fn omit(self, columns: &'static [&'static str]) -> Self {
        Self { omit: columns, ..self }
    }

    /// Takes only rows that meet an SQL condition. Purging takes all.
    #[must_use]
    pub const fn only(self, condition: &'static str) -> Self {
        Self { only: Some(condition), ..self }
    }

    /// Sets an omitted column to a text in imported rows.
    #[must_use]
    pub const fn import_with(self, column: &'static str, text: &'static str) -> Self {
        Self { import_with: Some((column, text)), ..self }
    }

    /// The columns that move, by name; they are sorted, so that two cells whose tables grew in another order agree.
    async fn columns<E: Engine>(&self, connection: &mut E::Connection) -> Result<Vec<String>, StorageError> {
        let mut columns = E::columns(connection, self.table).await?;
        columns.retain(|column| column != USER_KEY && !self.omit.contains(&column.as_str()));
        columns.sort_unstable();
        let lacking = self.order.iter().find(|column| !columns.iter().any(|c| c == *column));
        match lacking {
            None => Ok(columns),
            Some(column) => {
                Err(StorageError::Corrupt(format!("table \"{}\" has no column \"{column}\" to order by", self.table)))
            }
        }
    }

    async fn page<E: Engine>(
        &self,
        connection: &mut E::Connection,
        key: &UserKey,
        after: &[Value],
        limit: u32,
    ) -> Result<Rows, StorageError> {
        let columns = self.columns::<E>(connection).await?;
        let order = if self.order.is_empty() { USER_KEY.to_owned() } else { self.order.join(", ") };
        let mut sql = format!("SELECT {} FROM {} WHERE {USER_KEY} = ?", columns.join(", "), self.table);
        if let Some(condition) = self.only {
            sql += &format!(" AND ({condition})");
        }
        let mut values = vec![Value::from(key.as_bytes())];
        if !after.is_empty() {
            let marks = vec!["?"; after.len()].join(", ");
            sql += &format!(" AND ({order}) > ({marks})");
            values.extend_from_slice(after);
        }
        sql += &format!(" ORDER BY {order} LIMIT ?");
        values.push(i64::from(limit).into());
        let rows = E::query(connection, &sql, values).await?;
        let rows = rows.into_iter().map(crate::Row::into_values).collect();
        Ok(Rows { table: self.table.to_owned(), columns, rows })
    }

    /// Where the page after these rows begins; none if the page was not full.
    fn position(&self, page: &Rows, limit: u32) -> Option<Vec<Value>> {
        if self.order.is_empty() {
            return None;
        }
        let last = page.rows.last().filter(|_| page.rows.len() >= limit as usize)?;
        let value = |column: &&str| page.columns.iter().position(|c| c == column).map(|at| last[at].clone());
        self.order.iter().map(value).collect()
    }

    async fn import<E: Engine>(
        &self,
        connection: &mut E::Connection,
        key: &UserKey,
        rows: Rows,
    ) -> Result<(), StorageError> {
        // Names come from another cell; only those of this schema may reach SQL.
        let known = self.columns::<E>(connection).await?;
        if let Some(column) = rows.columns.iter().find(|column| !known.contains(column)) {
            return Err(StorageError::Corrupt(format!(
                "import names unknown column \"{column}\" of \"{}\"",
                self.table
            )));
        }
        let mut columns = vec![USER_KEY];
        columns.extend(rows.columns.iter().map(String::as_str));
        columns.extend(self.import_with.map(|(column, _)| column));
        let unique: Vec<_> = std::iter::once(&USER_KEY).chain(self.order).copied().collect();
        let sql = E::upsert(self.table, &unique, &columns);
        for row in rows.rows {
            if row.len() != rows.columns.len() {
                return Err(StorageError::Corrupt(format!("import of \"{}\" has a row of another width", self.table)));
            }
            let mut values = vec![Value::from(key.as_bytes())];
            values.extend(row);
            values.extend(self.import_with.map(|(_, text)| Value::from(text)));
            E::execute(connection, &sql, values).await?;
        }
        Ok(())
    }
}

/// A participant made of tables. List parents before the children that refer to them.
#[derive(Clone, Debug)]
pub struct UserTables {
    name: &'static str,
    tables: Vec<TableSpec>,
}

impl UserTables {
    /// A participant.
    #[must_use]
    pub fn new(name: &'static str, tables: Vec<TableSpec>) -> Self {
        Self { name, tables }
    }
}

impl<E: Engine> UserData<E> for UserTables {
    fn name(&self) -> &str {
        self.name
    }

    fn tables(&self) -> Vec<&'static str> {
        self.tables.iter().map(|spec| spec.table).collect()
    }

    fn export<'c>(
        &'c self,
        connection: &'c mut E::Connection,
        key: &'c UserKey,
        from: Option<ExportCursor>,
        limit: u32,
    ) -> BoxFuture<'c, Result<ExportPage, StorageError>> {
        Box::pin(async move {
            let limit = limit.max(1);
            let ExportCursor { table, after } = from.unwrap_or(ExportCursor { table: 0, after: vec![] });
            let Some(spec) = self.tables.get(table) else {
                return Err(StorageError::Corrupt(format!(
                    "export cursor names table {table} of {}",
                    self.tables.len()
                )));
            };
            let rows = spec.page::<E>(connection, key, &after, limit).await?;
            let next = match spec.position(&rows, limit) {
                Some(after) => Some(ExportCursor { table, after }),
                None => (table + 1 < self.tables.len()).then(|| ExportCursor { table: table + 1, after: vec![] }),
            };
            Ok(ExportPage { rows, next })
        })
    }

    fn import<'c>(
        &'c self,
        connection: &'c mut E::Connection,
        key: &'c UserKey,
        rows: Rows,
    ) -> BoxFuture<'c, Result<(), StorageError>> {
        Box::pin(async move {
            match self.tables.iter().find(|spec| spec.table == rows.table) {
                Some(spec) => spec.import::<E>(connection, key, rows).await,
                None => Err(StorageError::Corrupt(format!("import names unknown table \"{}\"", rows.table))),
            }
        })
    }

    fn digest<'c>(
        &'c self,
        connection: &'c mut E::Connection,
        key: &'c UserKey,
    ) -> BoxFuture<'c, Result<[u8; 32], StorageError>> {
        Box::pin(async move {
            let mut hasher = blake3::Hasher::new();
            for spec in &self.tables {
                hash_bytes(&mut hasher, spec.table.as_bytes());
                let mut after = vec![];
                loop {
                    let page = spec.page::<E>(connection, key, &after, DIGEST_PAGE).await?;
                    for row in &page.rows {
                        hasher.update(b"r");
                        for (column, value) in page.columns.iter().zip(row) {
                            hash_bytes(&mut hasher, column.as_bytes());
                            hash_value(&mut hasher, value);
                        }
                    }
                    match spec.position(&page, DIGEST_PAGE) {
                        Some(position) => after = position,
                        None => break,
                    }
                }
                hasher.update(b"e");
            }
            Ok(*hasher.finalize().as_bytes())
        })
    }

    fn purge<'c>(
        &'c self,
        connection: &'c mut E::Connection,
        key: &'c UserKey,
    ) -> BoxFuture<'c, Result<u64, StorageError>> {
        Box::pin(async move {
            let mut rows = 0;
            // Children before the parents they refer to.
            for spec in self.tables.iter().rev() {
                let sql = format!("DELETE FROM {} WHERE {USER_KEY} = ?", spec.table);
                rows += E::execute(connection, &sql, vec![key.as_bytes().into()]).await?;
            }
            Ok(rows)
        })
    }
}

fn hash_bytes(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

fn hash_value(hasher: &mut blake3::Hasher, value: &Value) {
    match value {
        Value::Null => {
            hasher.update(b"n");
        }
        Value::Integer(number) => {
            hasher.update(b"i").update(&number.to_be_bytes());
        }
        Value::Real(number) => {
            hasher.update(b"f").update(&number.to_bits().to_be_bytes());
        }
        Value::Text(text) => {
            hasher.update(b"t");
            hash_bytes(hasher, text.as_bytes());
        }
        Value::Blob(bytes) => {
            hasher.update(b"b");
            hash_bytes(hasher, bytes);
        }
    }
}
