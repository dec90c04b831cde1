//! The examples run, from the repository's folder, as their heads say.

#[path = "../examples/own_objective.rs"]
mod own_objective;
#[path = "../examples/run_rule.rs"]
mod run_rule;
#[cfg(feature = "cpu")]
#[path = "../examples/train_rule.rs"]
mod train_rule;

#[test]
fn a_rule_and_methods_on_one_problem() {
    run_rule::main().unwrap();
}

#[test]
fn an_own_objective() {
    own_objective::main().unwrap();
}

#[cfg(feature = "cpu")]
#[test]
fn training_on_own_data() {
    train_rule::main().unwrap();
}
