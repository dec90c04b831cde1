//! The rules in models/: each is readable, belongs to the recipe beside it, and has a model card.

#![cfg(feature = "train")]

use starling::rule::{FrozenRule, parse_ron};
use starling::train::Recipe;
use starling::train::checkpoint::recipe_hash;
use std::path::PathBuf;

#[test]
fn every_rule_belongs_to_the_recipe_beside_it() {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut rules = 0;
    for entry in std::fs::read_dir(models).unwrap() {
        let folder = entry.unwrap().path();
        let rule = folder.join("rule.ron");
        if !rule.exists() {
            continue;
        }
        let rule = FrozenRule::read(&rule).unwrap();
        let text = std::fs::read_to_string(folder.join("recipe.ron")).unwrap();
        let recipe: Recipe = parse_ron("recipe.ron", &text).unwrap();
        assert_eq!(
            rule.provenance.recipe_hash,
            recipe_hash(&recipe),
            "{} was not trained from its recipe",
            folder.display()
        );
        assert!(
            folder.join("README.md").exists(),
            "{} has no model card",
            folder.display()
        );
        rules += 1;
    }
    assert!(rules >= 4, "{rules} rules in models");
}
