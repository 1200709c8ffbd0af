//! The CustomResourceDefinition: the schema of the types, made strict, with the rules put in.

use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::RedisReplicaSet;
use super::rules::RULES;

/// The CRD as an object to apply.
pub fn definition() -> Value {
    let mut crd = serde_json::to_value(RedisReplicaSet::crd()).expect("a CRD is plain data");
    let version = &mut crd["spec"]["versions"][0];
    let schema = &mut version["schema"]["openAPIV3Schema"];
    tidy(schema);
    for rule in RULES.iter() {
        let place = schema.pointer_mut(rule.at).unwrap_or_else(|| panic!("the schema has no {}", rule.at));
        let mut entry = json!({"rule": rule.rule, "message": rule.message});
        if let Some(field) = rule.field {
            entry["fieldPath"] = json!(field);
        }
        let rules = place.as_object_mut().expect("a schema is an object").entry("x-kubernetes-validations");
        rules.or_insert_with(|| json!([])).as_array_mut().expect("a list of rules").push(entry);
    }
    crd
}

/// The CRD as YAML, the way it is checked in.
pub fn yaml() -> String {
    let body = serde_yaml::to_string(&definition()).expect("JSON is YAML");
    let mut yaml = String::from("# Made by `operator crd` from operator/src/crd. Do not edit.\n");
    for line in body.lines() {
        // What YAML 1.1, which Kubernetes reads, takes for a boolean, and the YAML 1.2 of our writer for text.
        match line.rsplit_once(' ') {
            Some((before, word @ ("y" | "n" | "yes" | "no" | "on" | "off")))
                if before.trim_end().ends_with(['-', ':']) =>
            {
                yaml.push_str(&format!("{before} \"{word}\"\n"));
            }
            _ => yaml.push_str(&format!("{line}\n")),
        }
    }
    yaml
}

/// Removes what only a Rust type has: null as a value (the API server then drops an explicit null and puts the default
/// in its place) and number formats that Kubernetes does not know. Writes the bounds of whole numbers as such.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("nullable").is_some_and(Value::is_boolean) {
                map.remove("nullable");
            }
            if map.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                map.remove("format");
            }
            for bound in ["minimum", "maximum"] {
                if let Some(number) = map.get(bound).and_then(Value::as_f64) {
                    map.insert(bound.to_owned(), json!(number as i64));
                }
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    }

    #[test]
    fn the_checked_in_file_is_what_the_types_say() {
        let file = include_str!("../../../crds/redisreplicasets.yaml");
        assert!(file == yaml(), "run: cargo run -p operator -- crd > crds/redisreplicasets.yaml");
    }

    #[test]
    fn what_the_schema_contains() {
        let schema = schema();
        let table: &[(&str, Value)] = &[
            ("/properties/spec/properties/masters/default", json!(1)),
            ("/properties/spec/properties/masters/minimum", json!(1)),
            ("/properties/spec/properties/replicas/default", json!(2)),
            ("/properties/spec/properties/replicas/minimum", json!(0)),
            ("/properties/spec/properties/sentinels/default", json!(3)),
            ("/properties/spec/properties/persistence/default/aof/enabled", json!(true)),
            (
                "/properties/spec/properties/persistence/default/rdb/save",
                json!(["900 1", "300 10", "60 10000"]),
            ),
            (
                "/properties/spec/properties/persistence/properties/aof/properties/fsync/default",
                json!("everysec"),
            ),
            (
                "/properties/spec/properties/persistence/properties/aof/properties/fsync/enum",
                json!(["always", "everysec", "no"]),
            ),
            (
                "/properties/spec/properties/persistence/properties/storage/properties/size/default",
                json!("1Gi"),
            ),
            (
                "/properties/spec/properties/persistence/properties/storage/properties/whenDeleted/enum",
                json!(["Retain", "Delete"]),
            ),
            ("/properties/spec/properties/failover/default/downAfter", json!("1s")),
            ("/properties/spec/properties/config/maxProperties", json!(64)),
            (
                "/properties/spec/properties/config/additionalProperties/x-kubernetes-int-or-string",
                json!(true),
            ),
            ("/required", json!(["spec"])),
        ];
        for (at, expected) in table {
            assert_eq!(schema.pointer(at), Some(expected), "{at}");
        }
    }

    #[test]
    fn what_the_version_offers() {
        let crd = definition();
        let version = &crd["spec"]["versions"][0];
        assert_eq!(crd["metadata"]["name"], "redisreplicasets.redis.replicaset.dev");
        assert_eq!(crd["spec"]["names"]["shortNames"], json!(["rrs"]));
        assert_eq!(version["name"], "v1alpha1");
        assert_eq!(version["subresources"], json!({"status": {}}), "nothing to scale");
        let columns: Vec<_> = version["additionalPrinterColumns"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect();
        assert_eq!(
            columns,
            ["Ready", "Masters", "Replicas", "Sentinels", "Master", "Reason", "At risk", "Message", "Age"]
        );
    }

    #[test]
    fn every_field_is_described_and_nothing_unknown_is_kept() {
        fn walk(at: &str, schema: &Value, seen: &mut usize) {
            assert!(schema.get("x-kubernetes-preserve-unknown-fields").is_none(), "{at}");
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                let at = format!("{at}.{name}");
                // Kubernetes' own types are described by Kubernetes.
                if !at.contains(".scheduling.") && !at.contains(".conditions") && at != ".metadata" {
                    assert!(
                        field["description"].as_str().is_some_and(|d| !d.is_empty()),
                        "{at} has no description"
                    );
                }
                *seen += 1;
                walk(&at, field, seen);
            }
            if let Some(items) = schema.get("items") {
                walk(&format!("{at}[]"), items, seen);
            }
        }
        let mut seen = 0;
        walk("", &schema(), &mut seen);
        assert!(seen > 60, "only {seen} fields walked");
    }

    #[test]
    fn every_rule_is_in_the_schema_with_words_for_a_person() {
        fn count(schema: &Value) -> usize {
            match schema {
                Value::Object(map) => {
                    map.get("x-kubernetes-validations").and_then(Value::as_array).map_or(0, Vec::len)
                        + map.values().map(count).sum::<usize>()
                }
                Value::Array(items) => items.iter().map(count).sum(),
                _ => 0,
            }
        }
        assert_eq!(count(&schema()), RULES.len());
        for rule in RULES.iter() {
            assert!((30..2048).contains(&rule.message.len()), "{}", rule.message);
        }
    }
}
