//! Checks that the header, the C compiler, the library, Python and Java agree on the interface.
//!
//! The declarations of Python and Java are generated, but they are read from their files here and each type is looked up
//! by its own language's rules: a wrong mapping in the generator must not pass.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Abi, Width, layout, without_comments};
use crate::{Result, root};

const HEADER: &str = "include/s3vault.h";
const PYTHON: &str = "bindings/python/src/s3vault/_abi.py";
const JAVA: &str = "bindings/java/src/main/java/io/s3vault/internal";

/// How each function is called: the widths of its result and its arguments.
type Signatures = BTreeMap<String, (Width, Vec<Width>)>;

/// The offset and the size of each field of each struct; the struct's own size is the field `sizeof`, at 0.
type Layouts = BTreeMap<(String, String), (usize, usize)>;

/// The offset of each field of each struct; the struct's size is the field `sizeof`.
type Offsets = BTreeMap<(String, String), usize>;

/// Compares the declarations, and prints each difference.
pub(crate) fn run() -> Result<()> {
    let header = read(HEADER)?;
    let abi = Abi::parse(&header)?;
    let signatures = signatures(&abi);
    if signatures.is_empty() {
        return Err(format!("{HEADER} declares no function").into());
    }
    let mut differences = Vec::new();

    let library = library().ok_or("libs3vault.so is not built: cargo build -p s3vault")?;
    let exported = exported(&library)?.into_iter().map(|name| (name, ())).collect();
    let declared = signatures.keys().map(|name| (name.clone(), ())).collect();
    differences.extend(compare(&library.display().to_string(), &declared, &exported));

    let layouts = c_layouts(&abi)?;
    differences.extend(compare("the header as xtask reads it", &layouts, &model_layouts(&abi)));

    let python = read(PYTHON)?;
    differences.extend(compare(PYTHON, &signatures, &python_signatures(&python)?));
    differences.extend(compare(PYTHON, &layouts, &python_layouts(&python)?));

    let native = format!("{JAVA}/Native.java");
    differences.extend(compare(&native, &signatures, &java_signatures(&read(&native)?)?));
    let file = format!("{JAVA}/Layout.java");
    differences.extend(compare(&file, &offsets(&layouts), &java_offsets(&read(&file)?)?));

    if differences.is_empty() {
        println!(
            "{} functions and {} structs: the same in the header and everywhere else",
            signatures.len(),
            abi.structs().count()
        );
        return Ok(());
    }
    for difference in &differences {
        eprintln!("{difference}");
    }
    Err(format!("{} differences from {HEADER}", differences.len()).into())
}

/// The differences between what the header declares and what another place does.
fn compare<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    place: &str,
    declared: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, expected) in declared {
        match found.get(name) {
            None => differences.push(format!("{place}: {name:?} is missing")),
            Some(found) if found != expected => {
                differences.push(format!("{place}: {name:?} is {found:?}, in the header {expected:?}"));
            }
            Some(_) => {}
        }
    }
    let extra = found.keys().filter(|name| !declared.contains_key(name));
    differences.extend(extra.map(|name| format!("{place}: {name:?} is not in the header")));
    differences
}

fn read(path: &str) -> Result<String> {
    Ok(fs::read_to_string(root().join(path)).map_err(|e| format!("{path}: {e}"))?)
}

fn signatures(abi: &Abi) -> Signatures {
    let widths = |function: &super::Function| {
        (function.result.width(), function.arguments.iter().map(|argument| argument.kind.width()).collect())
    };
    abi.functions.iter().map(|function| (function.name.clone(), widths(function))).collect()
}

/// What Java has of layouts. The first field of each struct, `size`, is always at 0.
fn offsets(layouts: &Layouts) -> Offsets {
    let fields = layouts.iter().filter(|((_, field), _)| field != "size");
    fields.map(|(name, (offset, size))| (name.clone(), if name.1 == "sizeof" { *size } else { *offset })).collect()
}

/// The layout of one struct.
fn layout_of(name: &str, fields: &[(&str, Width)]) -> Layouts {
    let (offsets, size) = layout(fields.iter().map(|(_, width)| *width));
    let fields = fields.iter().zip(offsets).map(|((field, width), offset)| (*field, (offset, width.bytes())));
    fields.chain([("sizeof", (0, size))]).map(|(field, at)| ((name.to_owned(), field.to_owned()), at)).collect()
}

fn model_layouts(abi: &Abi) -> Layouts {
    let mut layouts = Layouts::new();
    for structure in abi.structs() {
        let fields: Vec<_> = structure.fields.iter().map(|field| (field.name.as_str(), field.kind.width())).collect();
        layouts.extend(layout_of(&structure.name, &fields));
    }
    layouts
}

/// The layouts that the C compiler chooses for the header on disk.
fn c_layouts(abi: &Abi) -> Result<Layouts> {
    let mut source = String::from("#include <stdio.h>\n#include \"s3vault.h\"\nint main(void) {\n");
    for structure in abi.structs() {
        let name = &structure.name;
        let _ = writeln!(source, "printf(\"{name} sizeof 0 %zu\\n\", sizeof({name}));");
        for field in &structure.fields {
            let field = &field.name;
            let place = format!("offsetof({name}, {field}), sizeof((({name} *)0)->{field})");
            let _ = writeln!(source, "printf(\"{name} {field} %zu %zu\\n\", {place});");
        }
    }
    source.push_str("return 0;\n}\n");
    let folder = root().join("target").join(format!("abi-check-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let printed = compile_and_run(&folder, &source);
    fs::remove_dir_all(&folder)?;
    let mut layouts = Layouts::new();
    for line in printed?.lines() {
        let [name, field, offset, size] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("cannot read the layout '{line}'").into());
        };
        layouts.insert((name.to_owned(), field.to_owned()), (offset.parse()?, size.parse()?));
    }
    Ok(layouts)
}

fn compile_and_run(folder: &Path, source: &str) -> Result<String> {
    let (file, program) = (folder.join("layout.c"), folder.join("layout"));
    fs::write(&file, source)?;
    let mut cc = Command::new("cc");
    crate::run(cc.arg("-I").arg(root().join("include")).arg(&file).arg("-o").arg(&program))?;
    Ok(String::from_utf8(Command::new(&program).output()?.stdout)?)
}

/// The functions of `_abi.py`: `"NAME": (RESULT, [ARGUMENTS]),`
fn python_signatures(text: &str) -> Result<Signatures> {
    let (_, table) = text.split_once("\nFUNCTIONS").ok_or("no table FUNCTIONS")?;
    let mut signatures = Signatures::new();
    for line in table.lines() {
        let Some((name, rest)) = line.trim().strip_prefix('"').and_then(|line| line.split_once("\": (")) else {
            continue;
        };
        let (result, rest) = rest.split_once(", [").ok_or_else(|| format!("cannot read {line}"))?;
        let arguments = rest.trim_end_matches("]),");
        let arguments = arguments.split(", ").filter(|argument| !argument.is_empty()).map(python_width);
        signatures.insert(name.to_owned(), (python_width(result)?, arguments.collect::<Result<_>>()?));
    }
    Ok(signatures)
}

/// The structs of `_abi.py`, laid out as ctypes does it: as C.
fn python_layouts(text: &str) -> Result<Layouts> {
    let mut layouts = Layouts::new();
    for class in text.split("\nclass ").skip(1).filter(|class| class.contains("_fields_ = [")) {
        let name = class.split('`').nth(1).ok_or("a struct of Python does not say which it is")?;
        let (_, fields) = class.split_once("_fields_ = [").ok_or("no fields")?;
        let fields = fields.split_once("]\n").map_or(fields, |(fields, _)| fields);
        let mut read = Vec::new();
        for line in fields.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let field = line.strip_prefix("(\"").and_then(|line| line.strip_suffix("),"));
            let field = field.and_then(|line| line.split_once("\", "));
            let (field, class) = field.ok_or_else(|| format!("cannot read {line}"))?;
            read.push((field, python_width(class)?));
        }
        layouts.extend(layout_of(name, &read));
    }
    Ok(layouts)
}

fn python_width(class: &str) -> Result<Width> {
    Ok(match class {
        "None" => Width::Nothing,
        "c_int32" | "c_uint32" => Width::Bits32,
        "c_int64" | "c_uint64" | "c_size_t" => Width::Bits64,
        "c_char_p" | "c_void_p" | "py_object" => Width::Pointer,
        pointer if pointer.starts_with("POINTER(") => Width::Pointer,
        // Handles and callbacks have classes of their own.
        class if class.starts_with(|c: char| c.is_ascii_uppercase()) => Width::Pointer,
        other => return Err(format!("unknown ctypes class '{other}'").into()),
    })
}

/// The native methods of `Native.java`.
fn java_signatures(text: &str) -> Result<Signatures> {
    let code = without_comments(text);
    let mut signatures = Signatures::new();
    for method in code.split("public static native ").skip(1) {
        let (head, rest) = method.split_once('(').ok_or("a native method without arguments")?;
        let (result, name) = head.split_once(' ').ok_or_else(|| format!("cannot read {head}"))?;
        let (arguments, _) = rest.split_once(')').ok_or_else(|| format!("cannot read {rest}"))?;
        let arguments = arguments.trim().split(", ").filter(|argument| !argument.is_empty());
        let arguments = arguments.map(|argument| java_width(argument.split(' ').next().unwrap_or_default()));
        signatures.insert(name.to_owned(), (java_width(result)?, arguments.collect::<Result<_>>()?));
    }
    Ok(signatures)
}

fn java_width(class: &str) -> Result<Width> {
    Ok(match class {
        "void" => Width::Nothing,
        "int" => Width::Bits32,
        "long" => Width::Bits64,
        "Pointer" | "String" => Width::Pointer,
        other => return Err(format!("JNA must not pass a '{other}'").into()),
    })
}

/// The constants of `Layout.java`.
fn java_offsets(text: &str) -> Result<Offsets> {
    let mut offsets = Offsets::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(of) = line.trim().strip_prefix("/** {@code s3v_") {
            name = of.split('}').next().unwrap_or_default();
        } else if let Some((_, constant)) = line.split_once("static final int ") {
            let (field, number) = constant.split_once(" = ").ok_or_else(|| format!("cannot read {line}"))?;
            let field = if field == "SIZE" { "sizeof".to_owned() } else { field.to_lowercase() };
            offsets.insert((format!("s3v_{name}"), field), number.trim_end_matches(';').parse()?);
        }
    }
    Ok(offsets)
}

/// The library that was built last, debug or release: an older one may have an older interface.
fn library() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let built = ["debug", "release"].map(|profile| target.join(profile).join("libs3vault.so"));
    built
        .into_iter()
        .filter(|library| library.exists())
        .max_by_key(|library| library.metadata().and_then(|m| m.modified()).ok())
}

/// The symbols that a library exports. It must export nothing but the interface.
fn exported(library: &Path) -> Result<Vec<String>> {
    let output = Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(library).output()?;
    if !output.status.success() {
        return Err(format!("nm {}: {}", library.display(), String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn header() -> Abi {
        Abi::parse(&read(HEADER).unwrap()).unwrap()
    }

    /// The differences of a changed Python file and a changed Java file.
    fn python(from: &str, to: &str) -> Vec<String> {
        let text = read(PYTHON).unwrap();
        assert!(text.contains(from), "{from}");
        let text = text.replacen(from, to, 1);
        let mut found = compare("py", &signatures(&header()), &python_signatures(&text).unwrap());
        found.extend(compare("py", &model_layouts(&header()), &python_layouts(&text).unwrap()));
        found
    }

    fn native(from: &str, to: &str) -> Vec<String> {
        let text = read(&format!("{JAVA}/Native.java")).unwrap();
        assert!(text.contains(from), "{from}");
        compare("java", &signatures(&header()), &java_signatures(&text.replacen(from, to, 1)).unwrap())
    }

    #[test]
    fn the_generated_declarations_agree_with_the_header() {
        assert_eq!(python("", ""), [""; 0]);
        assert_eq!(native("", ""), [""; 0]);
    }

    #[test]
    fn a_wrong_width_in_python_is_found() {
        for (from, to) in [
            ("\"s3v_shutdown\": (c_int32, [c_uint64,", "\"s3v_shutdown\": (c_int32, [c_uint32,"),
            ("\"s3v_put_offset\": (c_uint64,", "\"s3v_put_offset\": (c_uint32,"),
            ("\"s3v_error_get\": (c_char_p, [Error, c_int32]", "\"s3v_error_get\": (c_char_p, [Error]"),
            ("\"s3v_error_free\": (None,", "\"s3v_error_free\": (c_int32,"),
            ("(\"retries\", c_uint64)", "(\"retries\", c_uint32)"),
        ] {
            assert!(!python(from, to).is_empty(), "{to}");
        }
        assert_eq!(
            python("\"s3v_shutdown\": (c_int32, [c_uint64,", "\"s3v_shutdown\": (c_int32, [c_uint32,"),
            ["py: \"s3v_shutdown\" is (Bits32, [Bits32, Pointer]), in the header (Bits32, [Bits64, Pointer])"]
        );
    }

    #[test]
    fn a_wrong_width_in_java_is_found() {
        for (from, to) in [
            ("s3v_shutdown(long ", "s3v_shutdown(int "),
            ("native long s3v_put_offset(", "native int s3v_put_offset("),
            (", int field)", ")"),
            ("s3v_bytes_free(", "s3v_bytes_released("),
        ] {
            assert!(!native(from, to).is_empty(), "{to}");
        }
    }

    #[test]
    fn a_wrong_offset_in_java_is_found() {
        let text = read(&format!("{JAVA}/Layout.java")).unwrap();
        let expected = offsets(&model_layouts(&header()));
        assert_eq!(compare("java", &expected, &java_offsets(&text).unwrap()), [""; 0]);
        let wrong = text.replacen("ON_EVENT = 16", "ON_EVENT = 12", 1);
        assert_eq!(
            compare("java", &expected, &java_offsets(&wrong).unwrap()),
            ["java: (\"s3v_ctl\", \"on_event\") is 12, in the header 16"]
        );
    }

    #[test]
    fn the_c_compiler_lays_structs_out_as_the_model_does() {
        assert_eq!(compare("c", &c_layouts(&header()).unwrap(), &model_layouts(&header())), [""; 0]);
    }
}
