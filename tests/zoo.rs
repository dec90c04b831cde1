//! The rules in models/: each is readable, belongs to the recipe beside it, and has a model card.

#![cfg(feature = "train")]

use starling::ron::parse_ron;
use starling::rule::FrozenRule;
use starling::train::Recipe;
use starling::train::checkpoint::recipe_hash;
use std::path::PathBuf;

#[test]
fn every_rule_belongs_to_the_recipe_beside_it() {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut rules = 0;
    for entry in std::fs::read_dir(models).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("rule.ron").exists() {
            continue;
        }
        assert!(
            folder.join("README.md").exists(),
            "{} has no model card",
            folder.display()
        );
        let text = std::fs::read_to_string(folder.join("recipe.ron")).unwrap();
        let mut recipe: Recipe = parse_ron("recipe.ron", &text).unwrap();
        let seed = recipe.seed;
        for file in std::fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            // rule.ron is the recipe's own seed, seed-….ron another one.
            if name != "rule.ron" && !name.starts_with("seed-") {
                continue;
            }
            let rule = FrozenRule::read(&file).unwrap();
            assert_eq!(rule.provenance.seed == seed, name == "rule.ron", "{name}");
            recipe.seed = rule.provenance.seed;
            assert_eq!(
                rule.provenance.recipe_hash,
                recipe_hash(&recipe),
                "{} was not trained from its recipe",
                file.display()
            );
            rules += 1;
        }
    }
    // Of five recipes, three of them from three seeds.
    assert!(rules >= 11, "{rules} rules in models");
}
