//! Where templates are found.

use super::*;

/// What `ChatTemplate::open` finds in a folder with these files, as an answer to `hi`.
#[track_caller]
fn check_folder(files: &[(&str, &str)], expected: Expect) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let tool = [json!({"name": "f"})];
    let messages = [Message::new("user", "hi")];
    let ask = |tools| {
        let Some(template) = ChatTemplate::open(folder.path())? else {
            return Ok("no template".to_owned());
        };
        template.render(&Conversation { tools, ..conversation(&messages) })
    };
    let [plain, tools] = [&[][..], &tool].map(|tools| {
        let text: Result<String, Error> = ask(tools);
        text.unwrap_or_else(|error| error.to_string())
    });
    let all = if plain == tools { plain } else { format!("{plain}\nwith tools: {tools}") };
    expected.assert_eq(&all.replace(&folder.path().display().to_string(), "FOLDER"));
}

#[test]
fn templates_are_found_in_files() {
    let config = |template: serde_json::Value| {
        json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": true,
               "pad_token": null, "chat_template": template})
        .to_string()
    };
    let one = config(json!("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"));
    check_folder(&[(CONFIG, &one)], expect!["<s>hi</s>"]);
    let jinja = "{{ eos_token }}{{ messages[0].content }} from a file\n";
    let in_json = r#"{"chat_template": "{{ bos_token }} from JSON"}"#;
    check_folder(
        &[(CONFIG, &one), (FILE, jinja), (JSON_FILE, in_json)],
        expect!["</s>hi from a file"],
    );
    check_folder(&[(CONFIG, &one), (JSON_FILE, in_json)], expect!["<s> from JSON"]);
    let named = |name: &str| json!({"name": name, "template": name.to_owned() + "{{ bos_token }}"});
    let list = config(json!([named("default"), named("tool_use"), named("rag")]));
    check_folder(
        &[(CONFIG, &list)],
        expect![[r#"
        default<s>
        with tools: tool_use<s>"#]],
    );
    check_folder(
        &[(CONFIG, &config(json!([named("rag"), named("x")])))],
        expect![
            "`FOLDER/tokenizer_config.json` has no valid chat template: it has templates named `rag`, `x`, expected one `default`"
        ],
    );
    check_folder(&[(CONFIG, &config(serde_json::Value::Null))], expect!["no template"]);
    check_folder(&[], expect!["no template"]);
    for (text, expected) in [
        (
            "",
            expect![
                "`FOLDER/tokenizer_config.json` is not valid JSON: EOF while parsing a value at line 1 column 0"
            ],
        ),
        ("[]", expect!["`FOLDER/tokenizer_config.json` is not valid JSON: it is not an object"]),
        (
            r#"{"chat_template": 3}"#,
            expect![
                "`FOLDER/tokenizer_config.json`: `chat_template` is 3, expected a string or a list of `name` with `template`"
            ],
        ),
        (
            r#"{"chat_template": [{"name": "default"}]}"#,
            expect![[
                r#"`FOLDER/tokenizer_config.json`: `chat_template` is [{"name":"default"}], expected a string or a list of `name` with `template`"#
            ]],
        ),
        (
            r#"{"chat_template": []}"#,
            expect![
                "`FOLDER/tokenizer_config.json`: `chat_template` is [], expected a string or a list of `name` with `template`"
            ],
        ),
        (
            r#"{"chat_template": "{{ 1 "}"#,
            expect![
                "`FOLDER/tokenizer_config.json` has no valid chat template: syntax error: unexpected end of input, expected end of variable block (in default:1)"
            ],
        ),
        (
            r#"{"eos_token": ["</s>"]}"#,
            expect![[
                r#"`FOLDER/tokenizer_config.json`: `eos_token` is ["</s>"], expected a string, an object with `content`, or null"#
            ]],
        ),
    ] {
        check_folder(&[(CONFIG, text)], expected);
    }
    let error = ChatTemplate::from_jinja(b"ab\xff", Path::new("x"), BTreeMap::new()).unwrap_err();
    expect!["`x` has no valid chat template: it is not UTF-8 from byte 2 on"]
        .assert_eq(&error.to_string());
}
