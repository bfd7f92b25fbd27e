//! The picture of a report in README, which the suite makes when it is asked to:
//! `TEST_PICTURE=docs/report.png cargo test -p keybroker-tests --test page`.

use std::fs;

use keybroker_tests::program::workspace;

#[test]
fn the_picture_is_a_small_png_that_readme_shows() {
    let picture = fs::read(workspace().join("docs/report.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n"), "no PNG");
    // IHDR is the first chunk: width and height follow its length and name.
    let side = |at: usize| u32::from_be_bytes(picture[at..at + 4].try_into().unwrap());
    assert_eq!((side(16), side(20)), (1200, 960));
    assert!(picture.len() <= 250_000, "{} bytes", picture.len());
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    assert!(readme.contains("](docs/report.png)"), "README does not show it");
    assert!(readme.contains("keybroker report --since 30d --html"), "README does not say how to make one");
}
