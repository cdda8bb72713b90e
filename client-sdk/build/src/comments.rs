//! Comments of protos, made fit for Rust's compiler and for rustdoc, which would compile what they fence as a test of the
//! crate that has the generated code. (What they indent prost fences as text.)

use prost_types::{FileDescriptorProto, source_code_info::Location};

/// Makes all comments of a file fit.
pub(crate) fn tame(file: &mut FileDescriptorProto) {
    for location in file.source_code_info.iter_mut().flat_map(|info| &mut info.location) {
        let Location { leading_comments, trailing_comments, leading_detached_comments, .. } = location;
        for comment in leading_comments.iter_mut().chain(trailing_comments).chain(leading_detached_comments) {
            *comment = tamed(comment);
        }
    }
}

fn tamed(comment: &str) -> String {
    let mut fenced = false;
    let line = |line: &str| {
        let line: String = line.trim_end_matches('\r').chars().map(harmless).collect();
        let text = line.trim_start();
        let Some(mark) = ["```", "~~~"].into_iter().find(|mark| text.starts_with(mark)) else { return line };
        fenced = !fenced;
        if fenced { format!("{}{mark}text", &line[..line.len() - text.len()]) } else { line }
    };
    comment.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Rust refuses bare carriage returns and characters that turn the direction of text.
fn harmless(c: char) -> char {
    match c {
        '\t' => c,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => ' ',
        c if c.is_control() => ' ',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::tamed;

    #[test]
    fn prose_stays_as_it_is() {
        let list = " Two lines,\n not one.\n\n - a list\n   of one\n\n     indented\n";
        for text in ["", " One line.\n", list, " [brackets] <tags> \"quotes\" \\ */"] {
            assert_eq!(tamed(text), text);
        }
    }

    #[test]
    fn nothing_is_code_to_be_tested() {
        assert_eq!(tamed(" ```\n fn\n ```\n ~~~rust,no_run\n ~~~"), " ```text\n fn\n ```\n ~~~text\n ~~~");
    }

    #[test]
    fn nothing_stops_the_compiler() {
        assert_eq!(tamed(" a\rb\r\n c\u{202e}d\0"), " a b\n c d ");
    }
}
