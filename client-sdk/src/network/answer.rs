//! What a response says: its status, whether it speaks of ownership, who gave it.

use super::tally::Tally;
use crate::{Code, Error, Token};
use cell_map::CellId;
use http::{HeaderMap, HeaderName, StatusCode};
use mesh_layers::{
    Reason,
    error::{DOMAIN, Redirect},
    metadata::{self, CELL, GRPC_MESSAGE, GRPC_STATUS, GRPC_STATUS_DETAILS, HOPS},
};
use mesh_routing::retry::{Advice, Ending, Outcome};
use tonic::Status;
use tonic_types::StatusExt;

/// Where the user's data stood, as a service says.
const TOKEN: HeaderName = HeaderName::from_static("cellmesh-token");
/// When a server wants to be asked again, in milliseconds; negative: never (gRFC A6).
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// A response's head, and its trailers if they have come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub http: StatusCode,
    pub head: &'a HeaderMap,
    pub trailers: Option<&'a HeaderMap>,
}

impl<'a> Answer<'a> {
    /// What an attempt came to by it.
    pub fn outcome(&self) -> Outcome {
        let Some(headers) = self.status_headers() else {
            let unavailable = self.http != StatusCode::OK && code_of(self.http) == Code::Unavailable;
            return if unavailable { Outcome::Unavailable(Advice::None) } else { Outcome::Answer };
        };
        if headers[GRPC_STATUS] == "0" {
            return Outcome::Answer;
        }
        // Only a trailers-only answer, one whose head has the status, speaks of ownership (OWN-9).
        let redirect = if self.is_trailers_only() { Redirect::decode(headers) } else { None };
        match redirect {
            Some(Redirect::WrongCell { to, unprocessed }) => {
                Outcome::WrongCell { owner: to.owner, epochs: to.epochs, unprocessed }
            }
            Some(Redirect::Moving { retry_after, unprocessed }) => {
                Outcome::Moving { retry_after: Some(retry_after), unprocessed }
            }
            None if headers[GRPC_STATUS] == "14" => Outcome::Unavailable(advice(headers)),
            None => Outcome::Answer,
        }
    }

    /// Whether it says OK; `false` if it does not say.
    pub fn is_ok(&self) -> bool {
        self.status_headers().is_some_and(|headers| headers[GRPC_STATUS] == "0")
    }

    /// gRPC's status code, for the record; none if it has not come.
    pub fn code(&self) -> Option<i32> {
        let headers = self.status_headers()?;
        headers[GRPC_STATUS].to_str().ok()?.parse().ok()
    }

    /// The error that it says.
    pub fn error(&self) -> Error {
        let Some(status) = self.status_headers().and_then(status) else {
            return match self.http {
                StatusCode::OK => Error::new(Code::Internal, "the response ends without a status"),
                http => Error::new(code_of(http), format!("the response has HTTP status {}", http.as_u16())),
            };
        };
        from_status(&status)
    }

    /// The cell that gave it. `asked` spares a look at the name in most cases.
    pub fn cell(&self, asked: &Tally) -> Option<CellId> {
        let Some(name) = self.find(&CELL) else { return asked.cell.clone() };
        match &asked.cell {
            Some(cell) if cell.as_str() == name => Some(cell.clone()),
            _ => CellId::new(name).ok(),
        }
    }

    /// Hops between cells' routers.
    pub fn hops(&self) -> u8 {
        self.find(&HOPS).and_then(|hops| hops.parse().ok()).unwrap_or(0)
    }

    /// Where the user's data stood.
    pub fn token(&self) -> Option<Token> {
        self.find(&TOKEN)?.parse().ok()
    }

    fn is_trailers_only(&self) -> bool {
        self.head.contains_key(GRPC_STATUS)
    }

    fn status_headers(&self) -> Option<&'a HeaderMap> {
        if self.is_trailers_only() {
            return Some(self.head);
        }
        self.trailers.filter(|trailers| trailers.contains_key(GRPC_STATUS))
    }

    fn find(&self, name: &HeaderName) -> Option<&'a str> {
        let value = self.head.get(name).or_else(|| self.trailers?.get(name))?;
        value.to_str().ok()
    }
}

/// What is said about sending a call again.
fn advice(headers: &HeaderMap) -> Advice {
    if let Some(value) = headers.get(PUSHBACK) {
        // What cannot be read counts as negative.
        return match value.to_str().ok().and_then(|text| text.parse::<u64>().ok()) {
            Some(ms) => Advice::After(std::time::Duration::from_millis(ms)),
            None => Advice::Never,
        };
    }
    let status = status(headers);
    let unreachable =
        |info: &tonic_types::ErrorInfo| info.domain == DOMAIN && info.reason == Reason::CellUnreachable.as_str();
    if status.as_ref().and_then(|status| status.get_details_error_info()).is_some_and(|info| unreachable(&info)) {
        // A router says so, which has tried itself: one layer sends again.
        return Advice::Never;
    }
    let retry = status.and_then(|status| status.get_details_retry_info());
    retry.and_then(|retry| retry.retry_delay).map_or(Advice::None, Advice::After)
}

/// The status in headers or trailers. (tonic's own reading panics at details that are no base64.)
fn status(headers: &HeaderMap) -> Option<Status> {
    let code = tonic::Code::from_bytes(headers.get(GRPC_STATUS)?.as_bytes());
    let message = headers.get(GRPC_MESSAGE).map_or(&[][..], |message| message.as_bytes());
    let message = percent_encoding::percent_decode(message).decode_utf8_lossy();
    let details = headers.get(GRPC_STATUS_DETAILS).and_then(|value| metadata::decode_bin(value.as_bytes()));
    Some(Status::with_details(code, message, details.unwrap_or_default().into()))
}

/// gRPC's code for an HTTP status that comes without one (`http-grpc-status-mapping.md`).
const fn code_of(http: StatusCode) -> Code {
    match http.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// A status as an error.
pub(crate) fn from_status(status: &Status) -> Error {
    let mut error = Error::new(Code::from_number(status.code() as i32), status.message());
    if status.details().is_empty() {
        return error;
    }
    let details = status.get_error_details();
    if let Some(info) = details.error_info() {
        let mut facts: Vec<_> = info.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        facts.sort_unstable();
        error = error.with_reason(&info.domain, &info.reason, facts);
    }
    if let Some(bad) = details.bad_request() {
        let fields = bad.field_violations.iter();
        error = error.with_violations(fields.map(|one| (one.field.clone(), one.description.clone())).collect());
    }
    error.with_retry_after(details.retry_info().and_then(|retry| retry.retry_delay))
}

/// Why a call ends without the answer of a service.
pub(super) fn ended(ending: Ending, cell: Option<&CellId>) -> Error {
    let unreachable = |processed: bool| {
        let (name, mut info) = match cell {
            Some(cell) => (format!("cell \"{cell}\" is unreachable"), vec![("cell".to_owned(), cell.to_string())]),
            None => ("the mesh's routers are unreachable".to_owned(), Vec::new()),
        };
        if processed {
            info.push(("processed".to_owned(), "unknown".to_owned()));
        }
        of_mesh(Reason::CellUnreachable, Code::Unavailable, name, info)
    };
    let moved = |code, message: &str| of_mesh(Reason::Moved, code, message.to_owned(), Vec::new());
    match ending {
        Ending::Unreachable => unreachable(false),
        Ending::Lost => unreachable(true),
        Ending::Aborted => moved(Code::Aborted, "the user moved to another cell during the call"),
        Ending::Moved => moved(Code::Unavailable, "the user moved to another cell and the call cannot be sent again"),
        Ending::Deadline => Error::deadline_exceeded(),
    }
}

/// An error of the mesh's own.
pub(super) fn of_mesh(reason: Reason, code: Code, message: String, info: Vec<(String, String)>) -> Error {
    Error::new(code, message).with_reason(DOMAIN, reason.as_str(), info)
}
