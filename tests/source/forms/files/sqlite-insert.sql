INSERT INTO campaigns VALUES('cd-1f0c2ab-74ac-41cd-8e21-5d7b90a3c6f4','voice','65b1ee85b0c6d8e2f4234b86','st-0c9d1e2f-3a4b-5c6d-8e7f-a0b1c2d3e4f5','1','Müller & Söhne');
INSERT INTO campaigns VALUES('cd-2b9d41e-0f3a-4c57-9a10-e2c84f7d6b05','sms','65b1ee85b0c6d8e2f4234b86','st-b7a6c5d4-e3f2-41a0-9b8c-7d6e5f4a3b2c','','He said "now", twice');
INSERT INTO campaigns VALUES('cd-3e7a90c-d1b2-4f68-b3c5-70a9e1f2d846','voice','644e9b61138c7160307450fa','st-0c9d1e2f-3a4b-5c6d-8e7f-a0b1c2d3e4f5','3','Café; crème');
INSERT INTO campaigns VALUES('cd-5d2e8b7-92c4-4d1a-a6e0-c4f8b2d6e031','voice','65b1ee85b0c6d8e2f4234b86','st-0c9d1e2f-3a4b-5c6d-8e7f-a0b1c2d3e4f5','2','plain');
