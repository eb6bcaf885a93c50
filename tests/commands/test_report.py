"""The report of trained runs: its numbers, and the page in a real browser."""

import json
import shutil

import pytest

from slr_jax import errors, evaluation, report_page, train_lib
from tests.conftest import make_tiny_config
from tests.report_pages import Page, make_report


@pytest.fixture(scope='module')
def workdir(tiny_dir, tmp_path_factory):
    """Two runs."""
    path = tmp_path_factory.mktemp('report') / 'two <runs>'
    train_lib.train_and_evaluate(make_tiny_config(tiny_dir, seeds=(1, 2), num_epochs=2), str(path))
    return path


def test_numbers_are_those_of_evaluate(workdir, tmp_path):
    output = tmp_path / 'new' / 'report.html'
    report_page.write_report(str(workdir), str(output))
    evaluation.evaluate(str(workdir), output_dir=str(tmp_path / 'test'))
    summary = json.loads((tmp_path / 'test' / 'metrics.json').read_text())['settings'][0]
    page = Page(output.read_text())
    expected = {summary['accuracy_mean'], summary['accuracy_std'], *summary['accuracy_interval95']}
    for seed in (1, 2):
        metrics = json.loads((tmp_path / 'test' / f'seed_{seed}' / 'metrics.json').read_text())
        expected |= {metrics['accuracy'], *metrics['accuracy_wilson95']}
    assert expected <= {*page.numbers}
    assert 'Training began' in page.text()
    assert 'Data trained and tested on' in page.text()
    assert [path.name for path in output.parent.iterdir()] == ['report.html']


def test_one_run_is_written_into_its_workdir_and_replaced(workdir, tiny_dir, tmp_path, monkeypatch):
    run = tmp_path / 'seed_1'
    shutil.copytree(workdir / 'seed_1', run)
    for _ in range(2):
        report_page.write_report(str(run), split='validation')
    text = (run / 'report.html').read_text()
    assert 'These clips chose the checkpoint' in text
    assert not Page(text).all('section', id='runs')
    (run / 'metrics.csv').unlink()
    report_page.write_report(str(run), checkpoint='latest', dataset=tiny_dir)
    text = (run / 'report.html').read_text()
    assert 'has no metrics.csv' in text
    assert 'epoch 2, the latest' in text


def test_a_dataset_that_has_moved_is_named(workdir, tmp_path):
    run = tmp_path / 'run'
    shutil.copytree(workdir / 'seed_1', run)
    config = json.loads((run / 'config.json').read_text())
    (run / 'config.json').write_text(json.dumps(config | {'dataset': '/nowhere/tiny'}))
    with pytest.raises(errors.InputError, match=r'^/nowhere/tiny\b.*/run\b.*--dataset$'):
        report_page.write_report(str(run))
    assert not (run / 'report.html').exists()


@pytest.fixture(scope='module')
def browser():
    webdriver = pytest.importorskip('selenium.webdriver', reason='no browser: selenium is not installed')
    chromium, driver = shutil.which('chromium'), shutil.which('chromedriver')
    if not chromium or not driver:
        pytest.skip('no browser: apt install chromium chromium-driver')
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--window-size=1200,900'):
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture
def show(browser, tmp_path):
    """Opens the page of a report, as a file; checks at the end that nothing was logged."""

    def show(**fields):
        path = tmp_path / 'report.html'
        path.write_text(report_page.render(make_report(**fields)), encoding='utf-8')
        browser.get(path.as_uri())
        return browser

    yield show
    browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': []})
    assert browser.get_log('browser') == []


def element(page, selector):
    return page.find_element('css selector', selector)


def wait_for(condition):
    import time

    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


NAMES = [f'sign {label} ' + 'w' * (40 * (label == 3)) for label in range(13)]


@pytest.mark.slow
def test_figures_are_seen(show):
    page = show(num_runs=3, layout='mediapipe_hands_pose', names=NAMES, num_clips=39)
    sizes = page.execute_script(
        "return [...document.querySelectorAll('svg')].filter((svg) => svg.checkVisibility())"
        '.map((svg) => [svg.getBoundingClientRect().width, svg.getBoundingClientRect().height])'
    )
    assert len(sizes) > 30
    assert min(min(size) for size in sizes) >= 8
    drawn = page.execute_script("return [...document.querySelectorAll('.clip .bones')].map((x) => x.getTotalLength())")
    assert len(drawn) == 12 * 3
    assert min(drawn) > 100


@pytest.mark.slow
def test_clips_play_and_stop(show):
    page = show(num_frames=30)
    button, slider, output = (element(page, f'.clip {name}') for name in ('button', 'input', 'output'))
    drawing = element(page, '.clip .points')
    assert (button.text, output.text) == ('Play', '16 of 30')
    before = drawing.get_attribute('d')
    button.click()
    assert button.text == 'Pause'
    wait_for(lambda: output.text != '16 of 30')
    assert drawing.get_attribute('d') != before
    button.click()
    assert button.text == 'Play'
    stopped = output.text
    assert slider.get_attribute('aria-valuetext') == f'frame {stopped}'
    page.execute_cdp_cmd(
        'Emulation.setEmulatedMedia', {'features': [{'name': 'prefers-reduced-motion', 'value': 'reduce'}]}
    )
    button.click()
    wait_for(lambda: button.text == 'Play')
    assert output.text == '30 of 30'


@pytest.mark.slow
def test_the_keyboard_is_enough(show):
    from selenium.webdriver.common.keys import Keys

    page = show(num_frames=30)
    page.execute_script("document.querySelector('#speed').focus()")

    def press(*keys):
        page.switch_to.active_element.send_keys(*keys)

    press(Keys.TAB)
    assert page.switch_to.active_element.tag_name == 'button'
    outline = page.execute_script('return getComputedStyle(document.activeElement).outlineStyle')
    assert outline == 'solid'
    output = element(page, '.clip output')
    press(Keys.SPACE)
    wait_for(lambda: output.text != '16 of 30')
    press(Keys.SPACE)
    press(Keys.TAB)
    before = int(output.text.split()[0])
    press(Keys.ARROW_LEFT if before > 1 else Keys.ARROW_RIGHT)
    assert abs(int(output.text.split()[0]) - before) == 1
    press(Keys.HOME)
    assert output.text == '1 of 30'
    header = element(page, '#classes th:nth-child(2)')
    page.execute_script('arguments[0].firstChild.focus()', header)
    for direction in ('ascending', 'descending'):
        press(Keys.ENTER)
        assert header.get_attribute('aria-sort') == direction


@pytest.mark.slow
def test_tables_are_sorted(show):
    page = show(names=NAMES, num_clips=50)
    column = "return [...document.querySelectorAll('#classes tbody tr')].map((row) => +row.children[3].dataset.value)"
    values = page.execute_script(column)
    assert values == sorted(values)
    element(page, '#classes th:nth-child(4) button').click()
    assert page.execute_script(column) == sorted(values, reverse=True)
    element(page, '#classes th:first-child button').click()
    names = page.execute_script("return [...document.querySelectorAll('#classes tbody th')].map((x) => x.textContent)")
    assert names == sorted(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_a_phone_shows_all_of_it(show, scheme):
    page = show(num_runs=3, names=NAMES, num_clips=39, layout='mediapipe_hands_pose')
    metrics = {'width': 380, 'height': 800, 'deviceScaleFactor': 2, 'mobile': True}
    page.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', metrics)
    page.execute_cdp_cmd(
        'Emulation.setEmulatedMedia', {'features': [{'name': 'prefers-color-scheme', 'value': scheme}]}
    )
    assert page.execute_script('return [innerWidth, document.documentElement.scrollWidth]') == [380, 380]
    smallest = page.execute_script(
        """
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        let smallest = Infinity;
        while (walker.nextNode()) {
          const parent = walker.currentNode.parentElement;
          if (!walker.currentNode.data.trim() || !parent.checkVisibility()) continue;
          const svg = parent.closest('svg');
          const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
          smallest = Math.min(smallest, scale * parseFloat(getComputedStyle(parent).fontSize));
        }
        return smallest;
        """
    )
    assert smallest >= 12
    brightness = page.execute_script(
        "return ['color', 'backgroundColor'].map((name) => getComputedStyle(document.body)[name].match(/\\d+/g)"
        '.reduce((sum, part) => sum + Number(part), 0))'
    )
    assert (brightness[0] > brightness[1]) == (scheme == 'dark')
