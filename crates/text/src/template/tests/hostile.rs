//! Templates that are wrong or want too much.

use super::*;
use proptest::prelude::*;
use std::time::Instant;

/// Each ends soon, with a sentence.
#[test]
fn hostile_templates_end() {
    let cases = [
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            expect!["the chat template in `x.jinja` fails: it takes too many steps or bytes"],
        ),
        (
            "{% for a in range(99999) %}{{ 'x' * 100 }}{% endfor %}",
            expect!["the chat template in `x.jinja` fails: it writes more than 1048644 bytes"],
        ),
        (
            "{{ 'abcdefgh' * 1000000000 }}",
            expect!["the chat template in `x.jinja` fails: it takes too many steps or bytes"],
        ),
        (
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            expect![
                "the chat template in `x.jinja` fails: invalid operation: recursion limit exceeded (in default:1)"
            ],
        ),
        (
            "{% for a in [[[]]] recursive %}{{ loop([a]) }}{% endfor %}",
            expect![
                "the chat template in `x.jinja` fails: invalid operation: recursion limit exceeded (in default:1)"
            ],
        ),
        (
            "{{ 'a' | replace('', 'b' * 9999999) | length }}",
            expect!["the chat template in `x.jinja` fails: it takes too many steps or bytes"],
        ),
        (
            "{{ '{:99999999999}'.format(1) }}",
            expect![
                "the chat template in `x.jinja` fails: invalid operation: a width of more than four digits in `format` (in default:1)"
            ],
        ),
        (
            "{{ ('{:9999}' * 9999).format(1) }}",
            expect!["the chat template in `x.jinja` fails: it takes too many steps or bytes"],
        ),
        (
            "{{ '%99999999999d' | format(1) }}",
            expect!["the chat template in `x.jinja` fails: it takes too many steps or bytes"],
        ),
        (
            "{{ 'a'.join(range(99999)).join(range(99999)) }}",
            expect!["the chat template in `x.jinja` fails: it takes too many steps or bytes"],
        ),
        (
            "{% set x = namespace() %}{% set x.x = x %}{{ x | tojson }}",
            expect![
                "the chat template in `x.jinja` fails: invalid operation: cannot write a map as JSON: nested deeper than 128 (in default:1)"
            ],
        ),
        (
            "{% set x = namespace(x=1) %}{% for a in range(99) %}{% set x.x = [x.x, x.x] %}\
             {% endfor %}{{ x.x | tojson }}",
            expect![
                "the chat template in `x.jinja` fails: invalid operation: cannot write a list as JSON: more than 7998464 bytes (in default:1)"
            ],
        ),
        (
            "{% include '/etc/passwd' %}",
            expect![
                "`x.jinja` has no valid chat template: syntax error: unknown statement include (in default:1)"
            ],
        ),
        (
            "{% import 'x' as x %}",
            expect![
                "`x.jinja` has no valid chat template: syntax error: unknown statement import (in default:1)"
            ],
        ),
        (
            "{% extends 'x' %}",
            expect![
                "`x.jinja` has no valid chat template: syntax error: unknown statement extends (in default:1)"
            ],
        ),
        (
            "{{ debug() }}",
            expect![
                "the chat template in `x.jinja` fails: unknown function: debug is unknown (in default:1)"
            ],
        ),
        (
            "{{ env('PATH') }}",
            expect![
                "the chat template in `x.jinja` fails: unknown function: env is unknown (in default:1)"
            ],
        ),
        (
            "{{ ''.__class__.__mro__ }}",
            expect![
                "the chat template in `x.jinja` fails: undefined value: `(...).__class__` is undefined (in default:1)"
            ],
        ),
    ];
    for (source, expected) in cases {
        let start = Instant::now();
        let special_tokens = BTreeMap::new();
        let result =
            ChatTemplate::from_jinja(source.as_bytes(), Path::new("x.jinja"), special_tokens)
                .and_then(|template| template.render(&conversation(&[Message::new("user", "hi")])));
        expected.assert_eq(&result.unwrap_err().to_string());
        assert!(start.elapsed() < Duration::from_secs(20), "{source}");
    }
    let parentheses = format!("{{{{ {}1{} }}}}", "(".repeat(9999), ")".repeat(9999));
    let long = "x".repeat(sandbox::MAX_SOURCE + 1);
    for (source, expected) in [
        (
            parentheses,
            expect![
                "`x` has no valid chat template: syntax error: template exceeds maximum recursion limits (in default:1)"
            ],
        ),
        (
            long,
            expect!["`x` has no valid chat template: it has 65535 bytes, expected 65534 at most"],
        ),
    ] {
        let error = ChatTemplate::from_jinja(source.as_bytes(), Path::new("x"), BTreeMap::new());
        expected.assert_eq(&error.unwrap_err().to_string());
    }
}

/// In the longest template the engine's counters of 16 bits are just wide enough.
#[test]
fn a_mistake_at_the_end_of_a_long_line_does_not_panic() {
    let filled = |start: &str, piece: &str| {
        let source = start.to_owned() + &piece.repeat(sandbox::MAX_SOURCE);
        source[..sandbox::MAX_SOURCE].to_owned()
    };
    for (start, piece) in
        [("{{ '", "x"), ("{{ ", "x"), ("{{ f(", "1,"), ("{{ 1 }}", "\n"), ("{% raw %}", "\n")]
    {
        let source = filled(start, piece);
        let special_tokens = BTreeMap::new();
        let template = ChatTemplate::from_jinja(source.as_bytes(), Path::new("x"), special_tokens);
        assert!(template.is_err() || start == "{{ 1 }}", "{start}");
    }
}

/// A long conversation is not hostile.
#[test]
fn long_conversations_are_rendered() {
    let text = "word ".repeat(1_000_000);
    let messages = [Message::new("user", &text), Message::new("assistant", "yes")];
    let rendered = template(TEXT).render(&conversation(&messages)).unwrap();
    assert!(rendered.len() > text.len());
    let messages = vec![Message::new("user", "hi"); 5000];
    assert!(template(PARTS).render(&conversation(&messages)).is_ok());
}

proptest! {
    #[test]
    fn any_template_is_rendered_or_refused(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "{{", "}}", "{%", "%}", "{%-", "-%}", "{#", "#}", " ", "\n", "'", "\"", "(", ")", "[",
            "]", "{", "}", ".", ",", ":", "|", "~", "+", "-", "*", "/", "==", "if ", "else",
            "endif", "for ", "in ", "endfor", "set ", "endset", "macro f(x)", "endmacro", "f(1)",
            "messages", "[0]", "content", "role", "tools", "loop", "x", "1", "true", "none", "raw",
            "endraw", "is ", "not ", "defined", "tojson", "trim", "strip()", "split('a')", "é",
            "99999999999999999999", "raise_exception('no')", "filter upper", "endfilter",
        ]), 0..40),
    ) {
        let special_tokens = BTreeMap::new();
        let source = pieces.concat();
        let template =
            ChatTemplate::from_jinja(source.as_bytes(), Path::new("x"), special_tokens);
        if let Ok(template) = template {
            let _ = template.render(&conversation(&[Message::new("user", "hi")]));
        }
    }

    #[test]
    fn any_bytes_are_a_config_or_refused(text: Vec<u8>) {
        let _ = ChatTemplate::from_config(&text, Path::new("x"));
    }

    /// A template that writes what it is given writes all of it.
    #[test]
    fn any_text_comes_out(text in "\\PC{0,40}") {
        let rendered = template(TEXT).render(&conversation(&[Message::new("user", &text)]));
        prop_assert_eq!(rendered.unwrap(), format!("[user]{text}"));
    }
}
