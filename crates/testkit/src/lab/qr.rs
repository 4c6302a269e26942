//! QR codes as others read them: `zbarimg` looks at a picture, or at what a terminal shows.
//!
//! Not for making them. Keeps true that what is on a terminal is read as a camera would see it, cell by cell.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::process::run;

const LIMIT: Duration = Duration::from_secs(30);
/// The pixels of a module in the picture of a terminal, and the quiet zone around it in modules.
const SCALE: usize = 6;
const QUIET: usize = 4;

/// The text in the QR code of a picture's file.
pub fn decode(picture: &Path) -> Result<String> {
    let mut command = Command::new("zbarimg");
    command.args(["--raw", "--quiet", "--nodbus", "-Sdisable", "-Sqrcode.enable"]).arg(picture);
    let output = run(&mut command, LIMIT)?.success()?;
    // It ends what it found with a line's end of its own.
    let text = output.stdout.strip_suffix('\n').unwrap_or(&output.stdout);
    Ok(text.to_owned())
}

/// The text in the QR code that a terminal shows, made of half blocks; ANSI colours are left out.
pub fn decode_terminal(shown: &str) -> Result<String> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let picture = folder.path().join("terminal.pgm");
    std::fs::write(&picture, drawn(&modules(shown))?).context("cannot write a picture")?;
    decode(&picture)
}

/// The text in the QR code of an SVG picture, as far as one needs SVG to draw a code: rectangles as paths, one above the other.
pub fn decode_svg(picture: &str) -> Result<String> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let file = folder.path().join("picture.pgm");
    std::fs::write(&file, drawn(&rectangles(picture)?)?).context("cannot write a picture")?;
    decode(&file)
}

/// What is light in a picture of rectangles, one point for each unit of its view box.
fn rectangles(picture: &str) -> Result<Vec<Vec<bool>>> {
    let (_, view) = picture.split_once("viewBox=\"0 0 ").context("it says no size")?;
    let side: usize = view.split([' ', '"']).next().unwrap_or_default().parse().context("its size")?;
    ensure!(side < 1_000, "a QR code is not {side} modules wide");
    let mut light = vec![vec![false; side]; side];
    for path in picture.split("<path ").skip(1) {
        let attribute = |name: &str| path.split_once(name)?.1.split('"').next();
        let (fill, moves) = attribute("fill=\"").zip(attribute(" d=\"")).context("a path is not filled")?;
        for part in moves.split_terminator('z') {
            let [x, y, width, height] =
                rectangle(part).with_context(|| format!("`{part}` is no rectangle"))?;
            let rows = light.get_mut(y..y + height).context("a rectangle is outside")?;
            for row in rows {
                row.get_mut(x..x + width).context("a rectangle is outside")?.fill(fill == "#fff");
            }
        }
    }
    Ok(light)
}

/// `M1 2h3v4h-3`: at 1, 2, three wide and four high.
fn rectangle(part: &str) -> Option<[usize; 4]> {
    let (x, rest) = part.strip_prefix('M')?.split_once(' ')?;
    let (y, rest) = rest.split_once('h')?;
    let (width, rest) = rest.split_once('v')?;
    let (height, back) = rest.split_once("h-")?;
    if back != width {
        return None;
    }
    Some([x.parse().ok()?, y.parse().ok()?, width.parse().ok()?, height.parse().ok()?])
}

/// Two rows for each line: whether the upper and the lower half of each cell are lit.
fn modules(shown: &str) -> Vec<Vec<bool>> {
    let lines = shown.lines().map(without_colours).filter(|line| line.chars().any(is_block));
    lines
        .flat_map(|line| {
            let upper = line.chars().map(|cell| matches!(cell, '█' | '▀')).collect();
            let lower = line.chars().map(|cell| matches!(cell, '█' | '▄')).collect();
            [upper, lower]
        })
        .collect()
}

fn is_block(cell: char) -> bool {
    matches!(cell, '█' | '▀' | '▄')
}

fn without_colours(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain += before;
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

/// A picture in which what is lit is white, as on a dark terminal. A code that is drawn dark on light is turned round:
/// its outermost row is then unlit.
fn drawn(modules: &[Vec<bool>]) -> Result<String> {
    let width = modules.iter().map(Vec::len).max().unwrap_or(0);
    ensure!(width > 20, "this is no QR code: it is {width} cells wide");
    let is_light = |row: usize, column: usize| {
        let cell = |row: usize, column: usize| modules.get(row).and_then(|cells| cells.get(column));
        let (Some(row), Some(column)) = (row.checked_sub(QUIET), column.checked_sub(QUIET)) else {
            return true;
        };
        // The corner belongs to the quiet zone where there is one, or to the dark finder pattern where there is none.
        let corner_is_lit = *cell(0, 0).unwrap_or(&false);
        cell(row, column).is_none_or(|lit| *lit == corner_is_lit)
    };
    let (rows, columns) = (modules.len() + 2 * QUIET, width + 2 * QUIET);
    let mut picture = format!("P2 {} {} 255\n", columns * SCALE, rows * SCALE);
    for row in 0..rows * SCALE {
        for column in 0..columns * SCALE {
            let shade = if is_light(row / SCALE, column / SCALE) { 255 } else { 0 };
            writeln!(picture, "{shade}")?;
        }
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_a_terminal_are_two_modules_each() {
        let rows = modules("\u{1b}[7m█▀\u{1b}[0m▄ \nwords\n");
        assert_eq!(rows, [[true, true, false, false], [true, false, true, false]]);
    }

    #[test]
    fn rectangles_cover_each_other() {
        let picture = "<svg viewBox=\"0 0 3 3\"><path fill=\"#fff\" d=\"M0 0h3v3h-3z\"/>\
                       <path fill=\"#000\" d=\"M1 0h2v1h-2zM0 2h1v1h-1z\"/></svg>";
        let [t, f] = [true, false];
        assert_eq!(rectangles(picture).unwrap(), [[t, f, f], [t, t, t], [f, t, t]]);
        assert!(rectangles(&picture.replace("h2", "h9")).is_err());
    }
}
