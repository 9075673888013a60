//! What a column of a row is given, as each of the databases takes it. It is borrowed from where it comes from: it
//! costs no copy until a database's driver makes one.

use std::borrow::Cow;

use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, ValueRef};
use sea_orm::Value;
use sea_orm::sea_query::ArrayType;

/// What a column holds. What may be missing is bound to a PostgreSQL as `''` or the least number: arrays of sea-orm
/// hold no NULL, and no row of ours holds either of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    TextOrNull,
    Number,
    NumberOrNull,
    Flag,
    Bytes,
}

/// What a column of one row is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    Null,
    Text(Cow<'a, str>),
    Number(i64),
    Flag(bool),
    Bytes(&'a [u8]),
}

impl Cell<'_> {
    /// As a value of sea-orm.
    pub(super) fn into_value(self) -> Value {
        match self {
            Self::Null => Value::String(None),
            Self::Text(text) => text.into_owned().into(),
            Self::Number(number) => number.into(),
            Self::Flag(flag) => flag.into(),
            Self::Bytes(bytes) => bytes.into(),
        }
    }
}

/// The columns of rows, each as an array.
pub(super) fn transposed(kinds: impl Iterator<Item = Kind>, cells: Vec<Cell<'_>>) -> Vec<Value> {
    let kinds: Vec<Kind> = kinds.collect();
    let rows = cells.len() / kinds.len();
    let mut arrays = vec![Vec::with_capacity(rows); kinds.len()];
    for (i, cell) in cells.into_iter().enumerate() {
        let column = i % kinds.len();
        arrays[column].push(match (kinds[column], cell) {
            (Kind::TextOrNull, Cell::Null) => Value::String(Some(String::new())),
            (Kind::NumberOrNull, Cell::Null) => Value::BigInt(Some(i64::MIN)),
            (_, cell) => cell.into_value(),
        });
    }
    let typed = arrays.into_iter().zip(kinds).map(|(array, kind)| {
        let of = match kind {
            Kind::Text | Kind::TextOrNull => ArrayType::String,
            Kind::Number | Kind::NumberOrNull => ArrayType::BigInt,
            Kind::Flag => ArrayType::Bool,
            Kind::Bytes => ArrayType::Bytes,
        };
        Value::Array(of, Some(Box::new(array)))
    });
    typed.collect()
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Number(number) => ValueRef::Integer(*number),
            Self::Flag(flag) => ValueRef::Integer((*flag).into()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Cell<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Cell<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<'a> From<&'a [u8]> for Cell<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell<'_> {
    fn from(cell: Option<T>) -> Self {
        cell.map_or(Self::Null, Into::into)
    }
}
