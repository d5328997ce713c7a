use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn in_folder(folder: &tempfile::TempDir) -> FileSessions {
    let text = r#"{"model_type": "minimax_text_01", "vocab_size": 50, "hidden_size": 24,
        "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 12, "num_local_experts": 2,
        "num_experts_per_tok": 1, "attn_type_list": [0], "rotary_dim": 4,
        "rope_theta": 10000, "postnorm": true, "max_position_embeddings": 8192}"#;
    let config = Config::from_json(text.as_bytes(), Path::new("config.json")).unwrap();
    let ahead = Mutex::new(None);
    FileSessions { folder: folder.path().to_owned(), config: Some(config), ahead }
}

fn talk(label: Option<&str>) -> NewSession {
    NewSession {
        tokens: [1, 2, 3].into(),
        points: Vec::new(),
        content: Vec::new(),
        notes: Notes { messages: 0, bytes: Vec::new() },
        label: label.map(str::to_owned),
        parent: None,
        expires: None,
        model: "m".to_owned(),
        fingerprint: "fp".to_owned(),
    }
}

/// A save read the old label, and put it back after it had been changed.
#[test]
fn a_label_that_changes_while_an_answer_is_saved_stays() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = in_folder(&folder);
    sessions.save(LOCAL, "talk", talk(Some("0"))).unwrap();
    let done = AtomicBool::new(false);
    let lost = thread::scope(|scope| {
        let saves = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                sessions.save(LOCAL, "talk", talk(None))?;
            }
            Ok::<_, SessionError>(())
        });
        let change = |i: u32| {
            let before = sessions.show(LOCAL, "talk")?.label;
            sessions.label(LOCAL, "talk", &(i + 1).to_string())?;
            Ok::<_, SessionError>(before != Some(i.to_string()))
        };
        let lost: Result<Vec<bool>, _> = (0..100).map(change).collect();
        done.store(true, Ordering::Relaxed);
        saves.join().unwrap().unwrap();
        lost.unwrap().into_iter().filter(|lost| *lost).count()
    });
    assert_eq!(lost, 0);
}

/// Whoever looks at a session that has expired does not delete what takes its place.
#[test]
fn an_expired_session_makes_place() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = in_folder(&folder);
    let old = NewSession { expires: Some(1), ..talk(Some("old")) };
    sessions.save(LOCAL, "talk", old).unwrap();
    let path = sessions.path(LOCAL, "talk");
    let lock = sessions.lock(LOCAL, &["talk"]).unwrap();
    assert!(matches!(sessions.show(LOCAL, "talk"), Err(SessionError::NotFound(_))));
    assert!(path.exists(), "somebody is changing it");
    drop(lock);
    assert!(matches!(sessions.show(LOCAL, "talk"), Err(SessionError::NotFound(_))));
    assert!(!path.exists());
}

/// All that makes a session may take the name of one that has expired, and of no other.
#[test]
fn names_of_expired_sessions_are_free() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = in_folder(&folder);
    sessions.save(LOCAL, "talk", talk(Some("new"))).unwrap();
    let file = folder.path().join("talk.safetensors");
    fs::copy(sessions.path(LOCAL, "talk"), &file).unwrap();
    let make = |i: usize| match i {
        0 => sessions.fork(LOCAL, "talk", "old", None).map(drop),
        1 => sessions.import_file(LOCAL, "old", &file).map(drop),
        _ => sessions.rename(LOCAL, "talk", "old"),
    };
    for i in 0..3 {
        sessions.save(LOCAL, "old", talk(None)).unwrap();
        assert!(matches!(make(i), Err(SessionError::Exists(name)) if name == "old"), "{i}");
        let over = NewSession { expires: Some(1), model: "over".to_owned(), ..talk(None) };
        sessions.save(LOCAL, "old", over).unwrap();
        make(i).unwrap();
        assert_eq!(sessions.show(LOCAL, "old").unwrap().model, "m", "{i}");
        sessions.delete(LOCAL, "old").unwrap();
    }
}

/// What is used is what was looked at, however often the file is replaced meanwhile.
#[test]
fn a_session_that_is_replaced_is_loaded_as_one_or_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = in_folder(&folder);
    let of = |fingerprint: &str, tokens: &[u32]| NewSession {
        tokens: tokens.into(),
        fingerprint: fingerprint.to_owned(),
        ..talk(None)
    };
    sessions.save(LOCAL, "talk", of("a", &[1, 2, 3])).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let saves = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                sessions.save(LOCAL, "talk", of("b", &[4; 9]))?;
                sessions.save(LOCAL, "talk", of("a", &[1, 2, 3]))?;
            }
            Ok::<_, SessionError>(())
        });
        let mut loaded = 0;
        let looks = (0..2000).try_for_each(|_| {
            match sessions.load(LOCAL, "talk", "a") {
                Ok(saved) if *saved.tokens == [1, 2, 3] && saved.info.tokens == 3 => loaded += 1,
                Ok(saved) => return Err(format!("a session of another model: {saved:?}")),
                Err(SessionError::OtherModel { .. }) => {}
                Err(other) => return Err(other.to_string()),
            }
            Ok(())
        });
        done.store(true, Ordering::Relaxed);
        saves.join().unwrap().unwrap();
        assert_eq!(looks, Ok(()));
        assert!(loaded > 0);
    });
}

/// What was read ahead is used once, and only if nothing else took its place meanwhile.
#[test]
fn a_session_is_read_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = Arc::new(in_folder(&folder));
    sessions.read_ahead("talk");
    let label = |name: &str| Ok(sessions.load(LOCAL, name, "fp")?.info.label);
    assert!(matches!(label("talk"), Err::<_, SessionError>(SessionError::NotFound(_))));
    for text in ["first", "second"] {
        let new = |tokens: &[u32]| NewSession { tokens: tokens.into(), ..talk(Some(text)) };
        sessions.save(LOCAL, "talk", new(&[1, 2])).unwrap();
        sessions.read_ahead("talk");
        // Of another one nothing was read.
        assert!(sessions.load(LOCAL, "other", "fp").is_err());
        assert!(lock(&sessions.ahead).is_some());
        assert_eq!(label("talk").unwrap().as_deref(), Some(text));
        assert!(lock(&sessions.ahead).is_none());
        sessions.read_ahead("talk");
        sessions.save(LOCAL, "talk", new(&[1, 2, 3])).unwrap();
        assert_eq!(sessions.load(LOCAL, "talk", "fp").unwrap().tokens.len(), 3);
    }
    sessions.read_ahead("talk");
    let other = sessions.load(LOCAL, "talk", "of another model");
    assert!(matches!(other, Err(SessionError::OtherModel { .. })));
}
