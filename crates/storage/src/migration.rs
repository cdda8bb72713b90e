//! Schema changes: numbered per module, applied once, never edited.

use crate::{Engine, Mode, StorageError, Value, engine::CommitError};

/// One step of a module's schema. Expand, move, contract: an older process must still run on the newer schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Who owns the tables, for instance a service's name. Each module counts on its own.
    pub module: &'static str,
    /// 1, 2, 3… within the module.
    pub version: u32,
    /// What it does, in a few words.
    pub name: &'static str,
    /// Its statements. They run inside one transaction.
    pub sql: &'static str,
}

/// The module of this crate's own tables.
pub(crate) const OWN_MODULE: &str = "cellmesh";

/// Applies what is missing, all in one transaction: two processes that start at once do not meet, and a failure leaves
/// nothing half done.
pub(crate) async fn migrate<E: Engine>(engine: &E, migrations: &[Migration]) -> Result<(), StorageError> {
    let mut all = Vec::with_capacity(E::SCHEMA.len() + migrations.len());
    for (version, (name, sql)) in (1..).zip(E::SCHEMA) {
        all.push(Migration { module: OWN_MODULE, version, name, sql });
    }
    all.extend_from_slice(migrations);
    check_order(&all)?;

    let mut lease = engine.acquire(Mode::Write).await?;
    E::begin(&mut lease, Mode::Write).await?;
    match apply::<E>(&mut lease, &all).await {
        Ok(()) => E::commit(&mut lease).await.map_err(|error| match error {
            CommitError::Refused(error) => error,
            CommitError::Unknown(why) => StorageError::CommitUnknown(why),
        }),
        Err(error) => {
            E::rollback(&mut lease).await?;
            Err(error)
        }
    }
}

fn check_order(all: &[Migration]) -> Result<(), StorageError> {
    for (at, migration) in all.iter().enumerate() {
        let earlier = all[..at].iter().filter(|other| other.module == migration.module).count();
        let expected = u32::try_from(earlier + 1).unwrap_or(u32::MAX);
        if migration.version != expected {
            let (module, version) = (migration.module.to_owned(), migration.version);
            return Err(StorageError::MigrationOrder { module, version, expected });
        }
    }
    Ok(())
}

async fn apply<E: Engine>(connection: &mut E::Connection, all: &[Migration]) -> Result<(), StorageError> {
    E::script(
        connection,
        "CREATE TABLE IF NOT EXISTS schema_migration (
           module  VARCHAR(64) NOT NULL,
           version BIGINT      NOT NULL,
           name    TEXT        NOT NULL,
           -- BLAKE3 of the SQL text, in hex
           digest  TEXT        NOT NULL,
           PRIMARY KEY (module, version)
         )",
    )
    .await?;
    for migration in all {
        let key = [Value::from(migration.module), Value::Integer(i64::from(migration.version))];
        let digest = blake3::hash(migration.sql.as_bytes()).to_hex().to_string();
        let found =
            E::query(connection, "SELECT digest FROM schema_migration WHERE module = ? AND version = ?", key.into());
        if let Some(mut row) = found.await?.pop() {
            if row.text()? != digest {
                return Err(StorageError::EditedMigration {
                    module: migration.module.to_owned(),
                    version: migration.version,
                    name: migration.name.to_owned(),
                });
            }
            continue;
        }
        E::script(connection, migration.sql).await?;
        let row = vec![
            migration.module.into(),
            Value::Integer(i64::from(migration.version)),
            migration.name.into(),
            digest.into(),
        ];
        E::execute(connection, "INSERT INTO schema_migration (module, version, name, digest) VALUES (?, ?, ?, ?)", row)
            .await?;
        tracing::info!(module = migration.module, version = migration.version, name = migration.name, "migrated");
    }
    Ok(())
}
