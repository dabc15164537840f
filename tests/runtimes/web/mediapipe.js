// MediaPipe Tasks for the web.
import {
  FilesetResolver,
  ObjectDetector,
} from "/node_modules/@mediapipe/tasks-vision/vision_bundle.mjs";

export async function open(model, minScore) {
  const files = await FilesetResolver.forVisionTasks("/node_modules/@mediapipe/tasks-vision/wasm");
  const detector = await ObjectDetector.createFromOptions(files, {
    baseOptions: { modelAssetPath: model, delegate: "CPU" },
    runningMode: "IMAGE",
    scoreThreshold: minScore,
    maxResults: -1,
  });
  return (image) =>
    detector.detect(image).detections.flatMap(({ boundingBox: box, categories }) =>
      categories.map(({ categoryName, score }) => ({
        label: categoryName,
        score,
        box: [box.originY, box.originX, box.height, box.width],
      })),
    );
}
