//! Ways in which an entry of a cache can be forged, stale or broken. Every place that keeps entries is tried with all of them.
//! What agrees with itself in everything cannot be told from the truth: who may write into a cache is believed.

use serde_json::{Value, json};

/// What stands in the right entry's place, with a name for each: `right` and `other` are entries of the same steps, of which an
/// attacker would like to have the other's in the image, whose layers are not there. They have three records at least.
pub(crate) fn texts(right: &Value, other: &Value) -> Vec<(&'static str, String)> {
    let edit = |change: &dyn Fn(&mut Value)| {
        let mut entry = right.clone();
        change(&mut entry);
        entry.to_string()
    };
    let records = |change: &dyn Fn(&mut Vec<Value>)| {
        edit(&|entry| change(entry["records"].as_array_mut().expect("records")))
    };
    let last = right["records"].as_array().expect("records").len() - 1;
    let zeros = "0".repeat(64);
    let mut cases = vec![
        ("empty", String::new()),
        ("no JSON", "entry".to_owned()),
        ("cut off", right.to_string()[..200].to_owned()),
        ("a list", "[]".to_owned()),
        ("null", "null".to_owned()),
        ("another step's", other.to_string()),
        ("no version", edit(&|entry| entry["version"] = Value::Null)),
        (
            "a later version",
            edit(&|entry| entry["version"] = 2.into()),
        ),
        ("no records", edit(&|entry| entry["records"] = json!([]))),
        (
            "records that are none",
            edit(&|entry| entry["records"] = json!("x")),
        ),
        (
            "the layer of another",
            records(&|all| all[last]["layer"] = other["records"][last]["layer"].clone()),
        ),
        ("steps in another order", records(&|all| all.swap(0, 1))),
        ("a step left out", records(&|all| drop(all.remove(1)))),
        (
            "the first step left out",
            records(&|all| drop(all.remove(0))),
        ),
        (
            "a step twice",
            records(&|all| all.insert(1, all[0].clone())),
        ),
        (
            "another base",
            records(&|all| all[0]["parent"] = json!(zeros)),
        ),
        (
            "too many steps",
            records(&|all| all.splice(0..0, vec![all[0].clone(); 2000]).for_each(drop)),
        ),
    ];
    for (name, field, value) in [
        ("another key", "key", json!(zeros)),
        ("no key", "key", json!("")),
        ("a key of another kind", "key", json!(1)),
        ("another parent", "parent", json!(zeros)),
        ("a parent of another kind", "parent", json!(1)),
        ("from the future", "created", json!(i64::MAX)),
        ("too old", "created", json!(0)),
        ("a time that is none", "created", json!("now")),
        ("a diff id that is none", "diff_id", json!("sha256:1")),
        ("a diff id with a path", "diff_id", json!("../../etc")),
        ("no layer", "layer", Value::Null),
    ] {
        cases.push((name, records(&|all| all[last][field] = value.clone())));
    }
    for (name, field, value) in [
        (
            "a layer that is not there",
            "digest",
            json!(format!("sha256:{zeros}")),
        ),
        (
            "a layer outside",
            "digest",
            json!("sha256:../../../etc/passwd"),
        ),
        ("a layer of another size", "size", json!(5)),
        ("a layer of no size", "size", json!(0)),
        (
            "a layer from elsewhere",
            "urls",
            json!(["http://evil.invalid/"]),
        ),
        (
            "a foreign layer",
            "mediaType",
            json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        ),
        ("a page", "mediaType", json!("text/html")),
    ] {
        cases.push((
            name,
            records(&|all| all[last]["layer"][field] = value.clone()),
        ));
    }
    assert!(cases.len() >= 30, "{}", cases.len());
    cases
}
