//! The templates have the resources and properties that `infra/resources.txt` names, and no others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use keybroker_tests::program::workspace;

use crate::yaml::read;

/// The kinds of resources, how many there are of each, and their properties.
type Kinds = BTreeMap<String, (usize, BTreeSet<String>)>;

fn written() -> BTreeMap<String, Kinds> {
    let table = fs::read_to_string(workspace().join("infra/resources.txt")).unwrap();
    let mut templates = BTreeMap::<_, Kinds>::new();
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace().map(str::to_owned);
        let [template, number, kind] = [(); 3].map(|()| words.next().unwrap());
        let row = (number.parse().unwrap(), words.collect());
        assert!(templates.entry(template).or_default().insert(kind, row).is_none(), "{line}");
    }
    templates
}

fn found(template: &str) -> Kinds {
    let mut kinds = Kinds::new();
    for resource in read(template)["Resources"].as_object().unwrap().values() {
        let (number, properties) = kinds.entry(resource["Type"].as_str().unwrap().to_owned()).or_default();
        *number += 1;
        properties.extend(resource["Properties"].as_object().unwrap().keys().cloned());
    }
    kinds
}

#[test]
fn no_template_has_a_resource_or_a_property_that_nobody_named() {
    let written = written();
    let mut templates = BTreeSet::new();
    for directory in ["", "examples/"] {
        for entry in fs::read_dir(workspace().join("infra").join(directory)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".yaml") {
                templates.insert(format!("{directory}{name}"));
            }
        }
    }
    assert_eq!(written.keys().cloned().collect::<BTreeSet<_>>(), templates);
    for (template, kinds) in written {
        assert_eq!(found(&template), kinds, "{template}");
    }
}
