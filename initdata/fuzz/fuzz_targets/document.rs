//! A document: one that is read can be written, and then says the same.
#![no_main]

use keybroker_initdata::Document;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(document) = Document::parse(text) else { return };
    assert_eq!(document.text(), text);
    let again = Document::write(document.digest().algorithm(), document.keybroker());
    assert_eq!(again.map(|again| again.keybroker().clone()), Ok(document.keybroker().clone()));
});
