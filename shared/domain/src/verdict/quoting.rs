//! Whether what follows some lines of Markdown would be shown as quoted: within a code block, a comment or an enclosing tag
//! that is still open. In doubt it would.

/// What hides or quotes all that follows up to its end, in lower case. Comments may begin anywhere, the others where a line
/// begins with a tag.
const ENCLOSURES: [(&str, &str); 9] = [
    (COMMENT, "-->"),
    ("<![cdata[", "]]>"),
    ("<?", "?>"),
    ("<pre", "</pre"),
    ("<script", "</script"),
    ("<style", "</style"),
    ("<textarea", "</textarea"),
    ("<details", "</details"),
    ("<blockquote", "</blockquote"),
];
const COMMENT: &str = "<!--";
/// A line that is indented further than this closes no code block.
const CLOSE_INDENT_MAX: usize = 3;

/// A code block's fence.
#[derive(Clone, Copy)]
struct Fence {
    letter: char,
    width: usize,
}

/// Whether something that was opened in these lines is still open at their end.
pub(super) fn is_open_after(lines: &[&str]) -> bool {
    let mut fence: Option<Fence> = None;
    let mut enclosed: Option<&str> = None;
    for line in lines {
        match fence {
            Some(open) if closes(open, line) => fence = None,
            Some(_) => {}
            None => {
                fence = opened(line);
                enclosed = end_awaited_after(&line.trim_start().to_lowercase(), enclosed);
            }
        }
    }
    fence.is_some() || enclosed.is_some()
}

/// The fence that a line opens; a line of backticks that holds another backtick is code within a paragraph.
fn opened(line: &str) -> Option<Fence> {
    let body = line.trim_start();
    let fence = fence_of(body)?;
    let rest = body.trim_start_matches(fence.letter);
    (fence.letter != '`' || !rest.contains('`')).then_some(fence)
}

fn closes(open: Fence, line: &str) -> bool {
    let body = line.trim_start_matches(' ');
    let indent = line.len() - body.len();
    indent <= CLOSE_INDENT_MAX
        && body.chars().all(|letter| letter == open.letter)
        && fence_of(body).is_some_and(|fence| fence.letter == open.letter && fence.width >= open.width)
}

fn fence_of(body: &str) -> Option<Fence> {
    let letter = body.chars().next().filter(|letter| matches!(letter, '`' | '~'))?;
    let width = body.chars().take_while(|next| *next == letter).count();
    (width >= 3).then_some(Fence { letter, width })
}

/// What ends the enclosure that is open after a line, given what was awaited before it.
fn end_awaited_after(line: &str, mut awaited: Option<&'static str>) -> Option<&'static str> {
    let begins_with_tag = line.starts_with('<') || awaited.is_some();
    let mut rest = line;
    loop {
        if let Some(end) = awaited {
            let Some(at) = rest.find(end) else { return awaited };
            rest = &rest[at + end.len()..];
        }
        let begin = ENCLOSURES
            .iter()
            .filter(|(begin, _)| begins_with_tag || *begin == COMMENT)
            .filter_map(|(begin, end)| Some((rest.find(begin)? + begin.len(), *end)))
            .min();
        let (at, end) = begin?;
        rest = &rest[at..];
        awaited = Some(end);
    }
}
