// Opens cameras: on phones the back one first.

const SIZE = { width: { ideal: 1280 }, height: { ideal: 720 } };
const ERRORS = {
  NotAllowedError:
    "The camera is blocked for this page: allow it in the browser's settings for this site, then " +
    "start it again.",
  NotFoundError: "There is no camera here: connect one, or open a picture or a video.",
  NotReadableError: "The camera is in use by another program: close that one, then start it again.",
  OverconstrainedError: "That camera is gone: start the camera again.",
};

let choice = { facingMode: { ideal: "environment" } };

const cameras = async () => {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter(({ kind }) => kind === "videoinput").map(({ deviceId }) => deviceId);
};

/**
 * Opens the chosen camera.
 *
 * @returns {Promise<{stream: MediaStream, canSwitch: boolean}>} rejects with a sentence
 */
export async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error(
      "Browsers give a camera to secure pages only: open this one by https or on localhost.",
    );
  }
  const chosen = choice;
  choice = { facingMode: { ideal: "environment" } }; // in case that the chosen one is gone
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { ...SIZE, ...chosen } });
  } catch (error) {
    throw new Error(ERRORS[error.name] ?? `The camera can't be opened: ${error.message}.`);
  }
  choice = chosen;
  return { stream, canSwitch: (await cameras()).length > 1 };
}

/** Chooses another camera than the one of a stream: the other side's, or the next. */
export async function chooseOther(stream) {
  const { facingMode, deviceId } = stream.getVideoTracks()[0].getSettings();
  if (facingMode) {
    choice = { facingMode: { ideal: facingMode === "user" ? "environment" : "user" } };
  } else {
    const ids = await cameras();
    choice = { deviceId: { exact: ids[(ids.indexOf(deviceId) + 1) % ids.length] } };
  }
}
