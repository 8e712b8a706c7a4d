//! Plane's HTML as plain lines, for conditions and prompts. Not a sanitiser: the result is data all the same.

const BLOCKS: &[&str] =
    &["p", "br", "div", "li", "ul", "ol", "tr", "pre", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6"];

/// Drops the tags, ends a line at each block, and undoes the common entities.
pub(super) fn plain(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        let tag = &rest[open + 1..];
        let starts_tag = tag.starts_with(|first: char| first.is_ascii_alphabetic() || "/!".contains(first));
        let Some(close) = tag.find('>').filter(|_| starts_tag) else {
            text.push('<');
            rest = tag;
            continue;
        };
        let name: String = tag
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect::<String>()
            .to_ascii_lowercase();
        if BLOCKS.contains(&name.as_str()) {
            text.push('\n');
        }
        rest = &tag[close + 1..];
    }
    text.push_str(rest);
    let text =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")]
            .iter()
            .fold(
                text,
                |text, (entity, letter)| {
                    if text.contains(entity) { text.replace(entity, letter) } else { text }
                },
            );
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn blocks_become_lines_and_tags_go() {
        let cases = [
            ("<p>/agent developer please take this</p>", "/agent developer please take this"),
            ("<p>a <b>b</b></p><p class=\"x\">c<br/>d</p>", "a b\nc\nd"),
            ("1 &lt; 2 &amp;amp; 3 < 4 <", "1 < 2 &amp; 3 < 4 <"),
            ("<mention-component id=\"1\"></mention-component>hi", "hi"),
            ("<!-- run:7 -->done", "done"),
            ("", ""),
        ];
        for (html, expected) in cases {
            assert_eq!(plain(html), expected, "{html}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(html: String) {
            let _ = plain(&html);
        }
    }
}
