//! The greeter of resources/packages, in versions that greet otherwise.

use crate::home::Home;
use crate::machine::root;
use std::fs;
use std::path::Path;

impl Home {
    /// Packs the greeter as another version, which greets otherwise; gives the package's path.
    pub fn greeter(&self, version: &str, hello: &str) -> String {
        let folder = self.path().join(format!("greeter-{version}"));
        copy(&root().join("resources/packages/greeter"), &folder);
        let change = |file: &str, from: &str, to: &str| {
            let text = fs::read_to_string(folder.join(file)).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(folder.join(file), text.replace(from, to)).unwrap();
        };
        change("meta.yaml", "version: 1.0.0", &format!("version: {version}"));
        change("assets/greetings.txt", "Hello", hello);
        let file = self.path().join(format!("greeter-{version}-{hello}.tso")).to_str().unwrap().to_owned();
        self.ok(&["pack", folder.to_str().unwrap(), "-o", &file]);
        file
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
