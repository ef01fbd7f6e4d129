//! The list of faults against the tests: every row has at least one, and those that it names exist.

use std::path::Path;

/// How many rows there are.
const ROWS: usize = 58;

#[test]
fn every_fault_has_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = include_str!("../../fixtures/faults.txt");
    let mut next = 1;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split(" | ").map(str::trim).collect();
        let [number, fault, expected, tests] = cells[..] else {
            panic!("four cells, not {line}");
        };
        assert_eq!(number.parse(), Ok(next), "{line}");
        assert!(!fault.is_empty() && !expected.is_empty(), "{line}");
        let mut count = 0;
        for test in tests.split_whitespace() {
            let (file, name) = test.split_once("::").expect("FILE::TEST");
            let source = std::fs::read_to_string(root.join(file))
                .unwrap_or_else(|error| panic!("row {number}: {file}: {error}"));
            let Some((before, _)) = source.split_once(&format!("fn {name}()")) else {
                panic!("row {number}: {file} has no test {name}");
            };
            let attribute = before
                .trim_end()
                .rsplit('\n')
                .find(|line| line.contains('#'));
            assert!(
                attribute.is_some_and(|line| line.contains("test")),
                "row {number}: {name} of {file} is no test"
            );
            count += 1;
        }
        assert!(count > 0, "row {number} has no test");
        next += 1;
    }
    assert_eq!(next, ROWS + 1, "all rows are there");
}
