//! Where the page is written to.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use tempfile::TempDir;

use super::{page, record, run};

fn html(file: &Path, out: &Path) -> (Option<i32>, String) {
    let output = run(&["--html", out.to_str().unwrap()], &[file]);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn names(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with("ports.db-"));
    names.sort();
    names
}

#[test]
fn a_page_is_there_whole_under_its_name_alone_and_only_its_user_may_read_it() {
    let directory = TempDir::new().unwrap();
    let (_, page) = page(&directory);
    assert_eq!(names(&directory), ["ports.db", "report.html"]);
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.starts_with("<!DOCTYPE html>") && text.trim_end().ends_with("</html>"));
    let mode = fs::metadata(&page).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn nothing_is_replaced_that_is_no_page() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("ports.db");
    record(&file);
    let before = fs::read(&file).unwrap();
    let (code, errors) = html(&file, directory.path());
    assert_eq!(code, Some(1));
    assert!(errors.contains("it is a directory; name a file in it"), "{errors}");
    let (code, errors) = html(&file, &file);
    assert_eq!(code, Some(1));
    assert!(errors.contains("it is the recording; name another file"), "{errors}");
    let (code, errors) = html(&file, &directory.path().join("missing/report.html"));
    assert_eq!(code, Some(1));
    assert!(errors.contains("No such file or directory"), "{errors}");
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(names(&directory), ["ports.db"]);
}

#[test]
fn a_link_leads_to_the_page_and_what_is_no_file_is_written_to() {
    let directory = TempDir::new().unwrap();
    let (file, page) = page(&directory);
    let text = fs::read(&page).unwrap();
    fs::write(&page, "old").unwrap();
    let link = directory.path().join("link.html");
    std::os::unix::fs::symlink("report.html", &link).unwrap();
    assert_eq!(html(&file, &link).0, Some(0));
    assert!(link.is_symlink());
    assert_eq!(fs::read(&page).unwrap(), text);
    let output = run(&["--html", "/dev/stdout"], &[&file]);
    assert_eq!(output.stdout, text);
    let (code, errors) = html(&file, Path::new("/dev/full"));
    assert_eq!(code, Some(1));
    assert!(errors.contains("can't write the page to /dev/full: No space left"), "{errors}");
}

#[test]
fn a_link_or_a_file_of_another_user_is_neither_followed_nor_replaced() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can make files of another user");
        return;
    }
    let directory = TempDir::new().unwrap();
    let (file, page) = page(&directory);
    fs::write(&page, "precious").unwrap();
    let link = directory.path().join("planted.html");
    let nobody = Some(65_534);
    for target in ["report.html", "not-there.html"] {
        std::os::unix::fs::symlink(target, &link).unwrap();
        std::os::unix::fs::lchown(&link, nobody, nobody).unwrap();
        let (code, errors) = html(&file, &link);
        assert_eq!(code, Some(1));
        assert!(errors.contains("belongs to the user 65534"), "{errors}");
        fs::remove_file(&link).unwrap();
    }
    assert!(!directory.path().join("not-there.html").exists());
    std::os::unix::fs::chown(&page, nobody, nobody).unwrap();
    assert_eq!(html(&file, &page).0, Some(1));
    assert_eq!(fs::read_to_string(&page).unwrap(), "precious");
}
