//! Unpacks the files of the reference page from the crate that carries them, so that the binary holds
//! those four and not the whole archive.

use std::io::Cursor;
use std::path::Path;

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

const FILES: [&str; 4] = ["dist/swagger-ui-bundle.js", "dist/swagger-ui.css", "LICENSE", "NOTICE"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let directory = std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    let mut archive = zip::ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for wanted in FILES {
        let path = archive
            .file_names()
            .filter_map(Result::ok)
            .find(|path| path.split_once('/').is_some_and(|(_, inner)| inner == wanted))
            .ok_or_else(|| format!("the archive has no {wanted}"))?
            .into_owned();
        let name = Path::new(wanted).file_name().ok_or("a file without a name")?;
        let mut file = std::fs::File::create(Path::new(&directory).join(name))?;
        std::io::copy(&mut archive.by_name(&path)?, &mut file)?;
    }
    Ok(())
}
