//! Documentation in generated code.

use proc_macro2::TokenStream;
use prost_build::Comments;
use quote::quote;

/// `#[doc]` attributes of these lines.
pub(super) fn lines(lines: impl IntoIterator<Item = impl AsRef<str>>) -> TokenStream {
    let lines = lines.into_iter().map(|line| format!(" {}", line.as_ref()));
    let lines = lines.map(|line| if line == " " { String::new() } else { line });
    quote!(#(#[doc = #lines])*)
}

/// A first line, and what the proto says after it.
pub(super) fn with_comment(first: &str, comments: &Comments) -> TokenStream {
    let comment = comment(comments);
    let blank = (!comment.is_empty()).then(String::new);
    lines([first.to_owned()].into_iter().chain(blank).chain(comment))
}

/// What the proto says, or a line for want of it.
pub(super) fn comment_or(comments: &Comments, otherwise: &str) -> TokenStream {
    let comment = comment(comments);
    if comment.is_empty() { lines([otherwise]) } else { lines(comment) }
}

/// The lines of a comment, as prost writes them for rustdoc.
fn comment(comments: &Comments) -> Vec<String> {
    let mut text = String::new();
    Comments { leading_detached: Vec::new(), ..comments.clone() }.append_with_indent(0, &mut text);
    let line = |line: &str| line.trim_start_matches("///").strip_prefix(' ').unwrap_or_default().trim_end().to_owned();
    let mut lines: Vec<_> = text.lines().map(line).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}
